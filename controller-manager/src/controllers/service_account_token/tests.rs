//! Which Secrets are filled, settled and unlisted, and what stands in a token.

use api_types::core::v1::ObjectReference;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

fn controller() -> AccountTokens {
    let path = std::env::temp_dir().join(format!("account-tokens-{}.key", uuid::Uuid::new_v4()));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    std::fs::write(&path, key.serialize_pem()).unwrap();
    let signer = Signer::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    AccountTokens { signer, authority: b"authority".to_vec().into() }
}

fn account(uid: &str, secrets: &[&str]) -> ServiceAccount {
    let mut account = ServiceAccount::default();
    account.metadata.name = "robot".into();
    account.metadata.namespace = "ns".into();
    account.metadata.uid = uid.into();
    let reference = |name: &&str| ObjectReference { name: (*name).into(), ..ObjectReference::default() };
    account.secrets = secrets.iter().map(reference).collect();
    account
}

fn secret() -> Secret {
    let mut secret = Secret { type_: SecretType::ServiceAccountToken, ..Secret::default() };
    secret.metadata.name = "token".into();
    secret.metadata.namespace = "ns".into();
    secret.metadata.uid = "secret-uid".into();
    secret.metadata.annotations.insert(annotation::SERVICE_ACCOUNT_NAME.into(), "robot".into());
    secret
}

fn look(controller: &AccountTokens, caches: &Caches) -> Vec<Own> {
    let view = controller.observe(&Key::new("ns", "token"), caches);
    let steps = view.map(|view| AccountTokens::plan(&view, Timestamp::UNIX_EPOCH).steps);
    let own = |step| match step {
        Step::Own(own) => own,
        other => panic!("{other:?}"),
    };
    steps.unwrap_or_default().into_iter().map(own).collect()
}

#[test]
fn an_empty_secret_is_filled_and_then_left_alone() {
    let (controller, caches) = (controller(), Caches::detached());
    caches.store::<AccountFacts>().put(account("1", &[]));
    caches.store::<TokenSecret>().put(secret());
    assert!(matches!(look(&controller, &caches)[..], [Own::Settle { .. }]));
    let mut filled = secret();
    controller.fill(&mut filled, &account("1", &[]));
    let keys: Vec<_> = filled.data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["ca.crt", "namespace", "token"]);
    assert_eq!(filled.metadata.annotations[annotation::SERVICE_ACCOUNT_UID], "1");
    caches.store::<TokenSecret>().put(filled.clone());
    assert!(look(&controller, &caches).is_empty());
    // Another account of the name: it is settled.
    caches.store::<AccountFacts>().put(account("2", &[]));
    assert!(matches!(look(&controller, &caches)[..], [Own::Settle { .. }]));
    // A new authority is handed on, and the token stays.
    let newer = AccountTokens { authority: b"newer".to_vec().into(), ..self::controller() };
    caches.store::<AccountFacts>().put(account("1", &[]));
    assert!(matches!(look(&newer, &caches)[..], [Own::Settle { .. }]));
    let token = filled.data["token"].clone();
    newer.fill(&mut filled, &account("1", &[]));
    assert_eq!((&filled.data["token"], &*filled.data["ca.crt"].0), (&token, &b"newer"[..]));
}

#[test]
fn a_deleted_secret_goes_off_the_list() {
    let (controller, caches) = (controller(), Caches::detached());
    caches.store::<AccountFacts>().put(account("1", &["other", "token"]));
    let unlist = Own::Unlist { account: Key::new("ns", "robot"), name: "token".into() };
    assert_eq!(look(&controller, &caches), [unlist]);
    caches.store::<AccountFacts>().put(account("1", &["other"]));
    assert!(look(&controller, &caches).is_empty());
}

#[test]
fn a_token_says_whose_it_is() {
    let token = controller().signer.token(&account("1", &[]), "token");
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!((parts.len(), &read(parts[0])["alg"]), (3, &"ES256".into()));
    let claims = read(parts[1]);
    assert_eq!(claims["iss"], "kubernetes/serviceaccount");
    assert_eq!(claims["sub"], "system:serviceaccount:ns:robot");
    assert_eq!(claims["kubernetes.io/serviceaccount/secret.name"], "token");
    assert_eq!(claims["kubernetes.io/serviceaccount/service-account.uid"], "1");
}
