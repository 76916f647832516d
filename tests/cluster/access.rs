//! Who may do what: RBAC, impersonation, tokens, the identity of a pod.

use crate::walk;
use anyhow::{Result, ensure};

#[test]
fn rights_come_from_roles_only() -> Result<()> {
    walk("access", |ns| {
        ns.kubectl(&["auth", "can-i", "delete", "nodes"]).says(&["yes"])?;
        ns.kubectl(&["auth", "whoami"]).says(&["kubernetes-admin", "system:masters"])?;
        let ann = |args: &[&str]| ns.kubectl(&[&["--as", "ann"], args].concat());
        ann(&["get", "pods"]).fails_with(&format!(
            "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\"",
            ns.name
        ))?;
        ann(&["auth", "can-i", "list", "pods"]).fails_with("no")?;
        ns.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]).succeeds()?;
        ns.kubectl(&["create", "rolebinding", "ann-reads", "--role=reader", "--user=ann"]).succeeds()?;
        ferrokube_tests::eventually("ann may list pods", 10, || Ok(ann(&["get", "pods"]).status == 0))?;
        ann(&["auth", "can-i", "--list"]).says(&["pods", "[get list]"])?;
        ann(&["create", "configmap", "x"]).fails_with("forbidden")?;
        // Nobody grants more than he has.
        ns.kubectl(&[
            "create",
            "role",
            "binder",
            "--verb=create",
            "--resource=roles.rbac.authorization.k8s.io",
        ])
        .succeeds()?;
        ns.kubectl(&["create", "rolebinding", "ann-binds", "--role=binder", "--user=ann"]).succeeds()?;
        ferrokube_tests::eventually("ann may create roles", 10, || {
            Ok(ann(&["auth", "can-i", "create", "roles"]).status == 0)
        })?;
        ann(&["create", "role", "thief", "--verb=get", "--resource=secrets"])
            .fails_with("attempting to grant RBAC permissions not currently held")?;
        Ok(())
    })
}

#[test]
fn a_service_account_has_a_name_a_token_and_a_mount() -> Result<()> {
    walk("tokens", |ns| {
        let token = ns.kubectl(&["create", "token", "default", "--duration=10m"]).succeeds()?;
        ensure!(token.trim().split('.').count() == 3, "{token}");
        ns.kubectl(&["--token", token.trim(), "--as", "", "auth", "whoami"]).succeeds()?;
        ns.kubectl(&["run", "me", "--image", ferrokube_tests::BUSYBOX, "--image-pull-policy=IfNotPresent", "--restart=Never", "--command", "--", "sh", "-c",
            "ls /var/run/secrets/kubernetes.io/serviceaccount && cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"]).succeeds()?;
        ns.until("pod/me", "{.status.phase}", "Succeeded", 60)?;
        ns.kubectl(&["logs", "me"]).says(&["ca.crt", "namespace", "token", &ns.name])?;
        ns.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data}"])
            .says(&["BEGIN CERTIFICATE"])?;
        Ok(())
    })
}

#[test]
fn a_certificate_is_requested_approved_and_signed() -> Result<()> {
    walk("csr", |ns| {
        let request = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KbXVzdCBub3QgcGFzcwotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {}}}\nspec:\n  request: {request}\n  signerName: kubernetes.io/kube-apiserver-client\n  usages: [client auth]\n",
            ns.name
        );
        ns.kubectl_with(&["create", "-f", "-"], &manifest).fails_with("failed to parse CSR")?;
        let key = std::process::Command::new("openssl")
            .args([
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                "/dev/null",
                "-subj",
                "/CN=carol/O=guests",
            ])
            .output();
        let Ok(output) = key else {
            println!("skipped: openssl is not installed");
            return Ok(());
        };
        let pem = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut encode = std::process::Command::new("base64");
        encode.arg("-w0");
        let request = ferrokube_tests::run(encode, &pem).succeeds()?;
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {}}}\nspec:\n  request: {request}\n  signerName: kubernetes.io/kube-apiserver-client\n  usages: [client auth]\n",
            ns.name
        );
        ns.kubectl_with(&["create", "-f", "-"], &manifest).succeeds()?;
        let csr = format!("csr/{}", ns.name);
        ns.kubectl(&["get", &csr]).says(&["Pending", "kubernetes.io/kube-apiserver-client"])?;
        ns.kubectl(&["certificate", "approve", &ns.name]).succeeds()?;
        ferrokube_tests::eventually("the certificate is issued", 20, || {
            Ok(!ns.path(&csr, "{.status.certificate}")?.is_empty())
        })?;
        ns.kubectl(&["get", &csr]).says(&["Approved,Issued"])?;
        ns.kubectl(&["delete", &csr]).succeeds()?;
        Ok(())
    })
}
