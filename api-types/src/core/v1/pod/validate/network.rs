//! Names and addresses: DNS settings, host names, hosts entries, ports on the node's network.

use super::Scope;
use crate::addresses;
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::names;
use crate::value::Value;

const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_CHARACTERS: usize = 2048;

pub(super) fn dns_config(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let config = spec.dns_config.as_deref();
    if spec.dns_policy == DNSPolicy::None {
        match config {
            None => {
                return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            }
            Some(config) if config.nameservers.is_empty() => {
                let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                return errors.required(&path.child("nameservers"), text);
            }
            Some(_) => {}
        }
    }
    let Some(config) = config else { return };
    let (servers, searches) = (path.child("nameservers"), path.child("searches"));
    let mut too_much = |path: &Path, list: &Vec<String>, text: String| {
        errors.invalid(path, list as &dyn Value, format!("must not have more than {text}"));
    };
    if config.nameservers.len() > NAMESERVERS {
        too_much(&servers, &config.nameservers, format!("{NAMESERVERS} nameservers"));
    }
    if config.searches.len() > SEARCHES {
        too_much(&searches, &config.searches, format!("{SEARCHES} search paths"));
    }
    if config.searches.join(" ").len() > SEARCH_CHARACTERS {
        let text = format!("{SEARCH_CHARACTERS} characters (including spaces) in the search list");
        too_much(&searches, &config.searches, text);
    }
    for (place, server) in config.nameservers.iter().enumerate() {
        addresses::legacy_ip(server, &servers.index(place), errors);
    }
    for (place, search) in config.searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.wrong(&searches.index(place), search, names::dns1123_subdomain_with_underscore(search));
    }
    for (place, option) in config.options.iter().enumerate() {
        if option.name.is_empty() {
            errors.required(&path.child("options").index(place), "must not be empty");
        }
    }
}

pub(super) fn hostname_override(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(name) = &spec.hostname_override else { return };
    if spec.set_hostname_as_fqdn == Some(true) {
        errors.forbidden(path, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.host_network {
        errors.forbidden(path, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.too_long(path, 64);
    }
    errors.wrong(path, name, names::dns1123_subdomain(name));
}

pub(super) fn host_aliases(aliases: &[HostAlias], path: &Path, errors: &mut Errors) {
    for (place, alias) in aliases.iter().enumerate() {
        let path = path.index(place);
        addresses::legacy_ip(&alias.ip, &path.child("ip"), errors);
        for (i, name) in alias.hostnames.iter().enumerate() {
            let path = path.child("hostnames").index(i);
            errors.wrong(&path, name, names::dns1123_subdomain(name));
        }
    }
}

/// On the node's network a container's port is the node's port. In a template it may still be left
/// out. `path` is that of the containers.
pub(super) fn host_ports_on_host_network(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    if !scope.spec.host_network {
        return;
    }
    for (place, container) in scope.spec.containers.iter().enumerate() {
        for (i, port) in container.ports.iter().enumerate() {
            let given = scope.pod.is_some() || port.host_port != 0;
            if given && port.host_port != port.container_port {
                let path = path.index(place).child("ports").index(i).child("hostPort");
                let text = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&path, port.host_port, text);
            }
        }
    }
}
