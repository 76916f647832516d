//! What claims get of which slices, as upstream gives it.

use serde_json::{Value as Json, json};

use super::*;
use crate::testing::node;
use client::informer::Whole;

/// Slices, classes and claims that are there already; written as JSON.
#[derive(Default)]
struct World {
    slices: Vec<Arc<Slice>>,
    classes: Shared<String, Arc<Class>>,
    there: Vec<ResourceClaim>,
}

fn read<T: api_types::kind::Resource>(json: &Json) -> T {
    api_types::codec::json::from_slice(json.to_string().as_bytes()).expect("an object")
}

/// A slice of the pool `POOL` (or `POOL@GENERATION/COUNT`) of dra.example.com, with more fields of its spec.
fn slice(name: &str, pool: &str, devices: Json, more: Json) -> Json {
    let (pool, version) = pool.split_once('@').unwrap_or((pool, "1/1"));
    let (generation, count) = version.split_once('/').expect("GENERATION/COUNT");
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let pool = json!({"name": pool, "generation": number(generation), "resourceSliceCount": number(count)});
    let mut spec = json!({"driver": "dra.example.com", "pool": pool, "devices": devices});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec})
}

fn devices(names: &[&str]) -> Json {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn claim(name: &str, spec: Json) -> Json {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"devices": spec}})
}

/// A request for devices of class `any`, with more fields of `exactly`.
fn exactly(name: &str, count: i64, more: Json) -> Json {
    let mut request = json!({"deviceClassName": "any", "allocationMode": "ExactCount", "count": count});
    for (key, value) in more.as_object().expect("fields") {
        request[key] = value.clone();
    }
    json!({"name": name, "exactly": request})
}

fn all(name: &str, more: Json) -> Json {
    let mut request = exactly(name, 0, more);
    request["exactly"]["allocationMode"] = "All".into();
    request
}

fn one(name: &str) -> Json {
    claim(name, json!({"requests": [exactly("r", 1, json!({}))]}))
}

fn cel(expression: &str) -> Json {
    json!([{"cel": {"expression": expression}}])
}

impl World {
    fn of(slices: &[Json]) -> Self {
        let world =
            Self { slices: slices.iter().map(|s| Arc::new(Whole(read(s)))).collect(), ..Self::default() };
        world.class("any", json!({}))
    }
    fn class(mut self, name: &str, spec: Json) -> Self {
        let class = json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass",
            "metadata": {"name": name}, "spec": spec});
        self.classes.insert(name.into(), Arc::new(Whole(read(&class))));
        self
    }
    /// With a claim that has what the results say.
    fn with(mut self, results: Json) -> Self {
        let mut there = one("there");
        there["status"] = json!({"allocation": {"devices": {"results": results}}});
        self.there.push(read(&there));
        self
    }
    fn allocate(&self, on: &str, claims: &[Json]) -> Result<Option<Vec<AllocationResult>>, Failure> {
        let mut in_use = InUse::default();
        self.there.iter().flat_map(|claim| &claim.status.allocation).for_each(|own| in_use.enter(own));
        let allocator = Allocator::new(self.slices.iter(), in_use, self.classes.clone(), Arc::default());
        let claims: Vec<ResourceClaim> = claims.iter().map(read).collect();
        let claims: Vec<&ResourceClaim> = claims.iter().collect();
        let node = node(on).label("zone", &format!("zone-{on}")).view();
        allocator.allocate(&node, &claims, &|| false, &mut || "share".into())
    }
    /// `REQUEST=POOL/DEVICE` of each claim; `-` for none.
    fn gets(&self, on: &str, claims: &[Json]) -> String {
        match self.allocate(on, claims) {
            Ok(None) => "-".into(),
            Err(failure) => format!("! {failure}"),
            Ok(Some(results)) => {
                let one = |result: &AllocationResult| {
                    let devices = result.devices.results.iter();
                    let parts = devices.map(|d| format!("{}={}/{}", d.request, d.pool, d.device));
                    parts.collect::<Vec<_>>().join(" ")
                };
                results.iter().map(one).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

#[track_caller]
fn check(world: &World, on: &str, claims: &[Json], expected: &str) {
    assert_eq!(world.gets(on, claims), expected);
}

fn local(name: &str, node: &str, names: &[&str]) -> Json {
    slice(name, node, devices(names), json!({"nodeName": node}))
}

#[test]
fn pools_and_slices_are_tried_by_name() {
    let world = World::of(&[
        slice("z", "b@1/2", devices(&["d3"]), json!({"allNodes": true})),
        slice("y", "b@1/2", devices(&["d2", "d1"]), json!({"allNodes": true})),
        slice("x", "c", devices(&["d4"]), json!({"allNodes": true})),
    ]);
    check(&world, "n", &[one("a")], "r=b/d2");
    check(&world, "n", &[one("a"), one("b"), one("c"), one("d")], "r=b/d2; r=b/d1; r=b/d3; r=c/d4");
    check(&world, "n", &[one("a"), one("b"), one("c"), one("d"), one("e")], "-");
    let four = claim("a", json!({"requests": [exactly("r", 3, json!({})), exactly("s", 1, json!({}))]}));
    check(&world, "n", &[four], "r=b/d2 r=b/d1 r=b/d3 s=c/d4");
}

#[test]
fn devices_are_where_their_slices_say() {
    let expression = json!([{"key": "zone", "operator": "In", "values": ["zone-n"]}]);
    let selector = json!({"nodeSelectorTerms": [{"matchExpressions": expression}]});
    let per_device = json!([
        {"name": "p0", "nodeName": "other"}, {"name": "p1", "nodeSelector": selector}, {"name": "p2", "allNodes": true},
    ]);
    let world = World::of(&[
        local("a", "n", &["d0"]),
        local("b", "other", &["d0"]),
        slice("c", "zonal", devices(&["z0"]), json!({"nodeSelector": selector})),
        slice("d", "zz", per_device, json!({"perDeviceNodeSelection": true})),
    ]);
    let every = |on| world.gets(on, &[claim("a", json!({"requests": [all("r", json!({}))]}))]);
    assert_eq!(every("n"), "r=n/d0 r=zonal/z0 r=zz/p1 r=zz/p2");
    assert_eq!(every("other"), "r=other/d0 r=zz/p0 r=zz/p2");
    assert_eq!(every("third"), "r=zz/p2");

    let nodes = |claims: &[Json]| {
        let results = world.allocate("n", claims).unwrap().unwrap();
        let selectors = results.iter().map(|result| match result.node_selector.as_deref() {
            None => "all".to_owned(),
            Some(selector) => match &selector.node_selector_terms[0] {
                term if !term.match_fields.is_empty() => term.match_fields[0].values.join(","),
                term => format!(
                    "{} in {}",
                    term.match_expressions[0].key,
                    term.match_expressions[0].values.join(",")
                ),
            },
        });
        selectors.collect::<Vec<_>>()
    };
    assert_eq!(
        nodes(&[one("a"), one("b"), one("c"), one("d")]),
        ["n", "zone in zone-n", "zone in zone-n", "all"]
    );
}

#[test]
fn old_generations_do_not_count_and_new_ones_have_to_be_whole() {
    let every = claim("a", json!({"requests": [all("r", json!({}))]}));
    let everywhere = || json!({"allNodes": true});
    let replaced = World::of(&[
        slice("a", "p@1/1", devices(&["old"]), everywhere()),
        slice("b", "p@2/1", devices(&["new"]), everywhere()),
    ]);
    check(&replaced, "n", &[one("a")], "r=p/new");
    let moved = World::of(&[
        slice("a", "p@1/1", devices(&["old"]), everywhere()),
        slice("b", "p@2/1", devices(&["new"]), json!({"nodeName": "other"})),
    ]);
    check(&moved, "n", &[one("a")], "r=p/old");
    let split = World::of(&[
        slice("a", "p@1/2", devices(&["old"]), everywhere()),
        slice("b", "p@2/1", devices(&["new"]), json!({"nodeName": "other"})),
    ]);
    check(&split, "n", &[one("a")], "-");
    let partial = World::of(&[slice("a", "p@1/2", devices(&["d"]), everywhere()), local("b", "n", &["e"])]);
    check(&partial, "n", &[one("a")], "r=n/e");
    let message = "! claim default/a, request r: asks for all devices, but resource pool dra.example.com/p is currently being updated";
    check(&partial, "n", std::slice::from_ref(&every), message);
    let twice = World::of(&[slice("a", "p", devices(&["d", "d"]), everywhere())]);
    check(&twice, "n", &[one("a")], "! invalid resource pools were encountered");
    let message = "! claim default/a, request r: asks for all devices, but resource pool dra.example.com/p is currently invalid";
    check(&twice, "n", &[every], message);
}

#[test]
fn what_is_in_use_is_left_alone_but_for_administrators() {
    let world = World::of(&[local("a", "n", &["d0", "d1"])])
        .with(json!([{"request": "r", "driver": "dra.example.com", "pool": "n", "device": "d0"}]));
    check(&world, "n", &[one("a")], "r=n/d1");
    check(&world, "n", &[one("a"), one("b")], "-");
    let every = |more: Json| claim("a", json!({"requests": [all("r", more)]}));
    check(&world, "n", &[every(json!({}))], "-");
    check(&world, "n", &[every(json!({"adminAccess": true}))], "r=n/d0 r=n/d1");
    let admin = |name: &str| exactly(name, 1, json!({"adminAccess": true}));
    let two = claim("a", json!({"requests": [admin("r"), admin("s")]}));
    check(&world, "n", &[two], "r=n/d0 s=n/d1");
    let three = claim("a", json!({"requests": [admin("r"), admin("s"), admin("t")]}));
    check(&world, "n", &[three], "-");
    let watched = World::of(&[local("a", "n", &["d0"])]).with(json!([
        {"request": "r", "driver": "dra.example.com", "pool": "n", "device": "d0", "adminAccess": true}
    ]));
    check(&watched, "n", &[one("a")], "r=n/d0");
}

#[test]
fn classes_and_requests_pick() {
    let gpus = json!([
        {"name": "small", "attributes": {"gb": {"int": 10}}},
        {"name": "big", "attributes": {"gb": {"int": 80}}},
        {"name": "odd"},
    ]);
    let world = World::of(&[slice("a", "p", gpus, json!({"allNodes": true}))])
        .class("gpu", json!({"selectors": cel(r#"has(device.attributes["dra.example.com"].gb)"#)}))
        .class("bad", json!({"selectors": cel("device.oops")}));
    let asks = |class: &str, expression: &str| {
        let more = json!({"deviceClassName": class, "selectors": cel(expression)});
        vec![claim("a", json!({"requests": [exactly("r", 1, more)]}))]
    };
    let gb = r#"device.attributes["dra.example.com"].gb"#;
    check(&world, "n", &asks("gpu", &format!("{gb} > 20")), "r=p/big");
    check(&world, "n", &asks("gpu", &format!("{gb} > 99")), "-");
    let message = "! claim default/a: selector #0: CEL runtime error: no such key: gb";
    check(&world, "n", &asks("any", &format!("{gb} > 99")), message);
    let found = world.gets("n", &asks("bad", "true"));
    assert!(
        found.starts_with("! class bad: selector #0: CEL compile error: compilation failed: "),
        "{found}"
    );
    let message = "! claim default/a, request r: could not retrieve device class none: deviceclass.resource.k8s.io \"none\" not found";
    check(&world, "n", &asks("none", "true"), message);
}

#[test]
fn attributes_in_common_or_all_different() {
    let on = |name: &str, bus: &str| json!({"name": name, "attributes": {"bus": {"string": bus}}});
    let world = World::of(&[slice(
        "a",
        "p",
        json!([on("d0", "x"), on("d1", "y"), on("d2", "y"), {"name": "d3"}]),
        json!({"allNodes": true}),
    )]);
    let asks = |count: i64, constraint: Json| {
        let requests = json!([exactly("r", count, json!({})), exactly("s", 1, json!({}))]);
        vec![claim("a", json!({"requests": requests, "constraints": [constraint]}))]
    };
    let same = |requests: &[&str]| json!({"matchAttribute": "dra.example.com/bus", "requests": requests});
    check(&world, "n", &asks(1, same(&[])), "r=p/d1 s=p/d2");
    check(&world, "n", &asks(2, same(&[])), "-");
    check(&world, "n", &asks(2, same(&["r"])), "r=p/d1 r=p/d2 s=p/d0");
    let other = |requests: &[&str]| json!({"distinctAttribute": "dra.example.com/bus", "requests": requests});
    check(&world, "n", &asks(1, other(&[])), "r=p/d0 s=p/d1");
    check(&world, "n", &asks(2, other(&[])), "-");
    check(&world, "n", &asks(2, other(&["r"])), "r=p/d0 r=p/d1 s=p/d2");
    let every = claim("a", json!({"requests": [all("r", json!({}))], "constraints": [same(&[])]}));
    let message = "! claim default/a, request r: cannot add device dra.example.com/p/d1 because a claim constraint would not be satisfied";
    check(&world, "n", &[every], message);
}

#[test]
fn the_first_alternative_that_can_be_had() {
    let world = World::of(&[local("a", "n", &["d0", "d1", "d2"])]);
    let option = |name: &str, count: i64| json!({"name": name, "deviceClassName": "any", "allocationMode": "ExactCount", "count": count});
    let list = |options: Json| json!({"name": "l", "firstAvailable": options});
    let asks = |requests: Json| vec![claim("a", json!({"requests": requests}))];
    check(
        &world,
        "n",
        &asks(json!([list(json!([option("four", 4), option("two", 2)]))])),
        "l/two=n/d0 l/two=n/d1",
    );
    let beside = json!([list(json!([option("three", 3), option("two", 2)])), exactly("r", 1, json!({}))]);
    check(&world, "n", &asks(beside), "l/two=n/d0 l/two=n/d1 r=n/d2");
    let too_many = json!([list(json!([option("much", 33)]))]);
    let message = "! claim default/a: number of requested devices 33 exceeds the claim limit of 32";
    check(&world, "n", &asks(too_many), message);
    let fits_one = json!([list(json!([option("much", 33), option("one", 1)]))]);
    check(&world, "n", &asks(fits_one), "l/one=n/d0");
}

#[test]
fn taints_keep_requests_away_that_do_not_tolerate_them() {
    let tainted = |name: &str, effect: &str| json!({"name": name, "taints": [{"key": "broken", "value": "yes", "effect": effect}]});
    let world = World::of(&[slice(
        "a",
        "p",
        json!([tainted("d0", "NoSchedule"), tainted("d1", "NoExecute"), tainted("d2", "None")]),
        json!({"allNodes": true}),
    )]);
    let asks = |toleration: Json| {
        vec![claim("a", json!({"requests": [exactly("r", 1, json!({"tolerations": [toleration]}))]}))]
    };
    check(&world, "n", &[one("a")], "r=p/d2");
    check(&world, "n", &asks(json!({"operator": "Exists"})), "r=p/d0");
    check(
        &world,
        "n",
        &asks(json!({"key": "broken", "operator": "Equal", "value": "yes", "effect": "NoExecute"})),
        "r=p/d1",
    );
    check(&world, "n", &asks(json!({"key": "broken", "operator": "Equal", "value": "no"})), "r=p/d2");
}

#[test]
fn devices_share_counters() {
    let part = |name: &str, memory: &str| {
        json!({"name": name, "consumesCounters": [
        {"counterSet": "gpu", "counters": {"memory": {"value": memory}}}]})
    };
    let counters = json!([{"name": "gpu", "counters": {"memory": {"value": "10Gi"}}}]);
    let mut sets = slice("a", "p@1/2", json!([]), json!({"allNodes": true, "sharedCounters": counters}));
    sets["spec"].as_object_mut().unwrap().remove("devices");
    let parts = json!([part("whole", "10Gi"), part("half-0", "5Gi"), part("half-1", "5Gi")]);
    let world = || World::of(&[sets.clone(), slice("b", "p@1/2", parts.clone(), json!({"allNodes": true}))]);
    check(&world(), "n", &[one("a")], "r=p/whole");
    check(&world(), "n", &[one("a"), one("b")], "r=p/half-0; r=p/half-1");
    check(&world(), "n", &[one("a"), one("b"), one("c")], "-");
    let used =
        world().with(json!([{"request": "r", "driver": "dra.example.com", "pool": "p", "device": "half-1"}]));
    check(&used, "n", &[one("a")], "r=p/half-0");
    let unknown = World::of(&[slice("b", "p", parts.clone(), json!({"allNodes": true}))]);
    check(&unknown, "n", &[one("a")], "! invalid resource pools were encountered");
}

#[test]
fn shares_of_a_device() {
    let nic = json!([{"name": "nic", "allowMultipleAllocations": true, "capacity": {"bandwidth": {"value": "10G",
        "requestPolicy": {"default": "1G", "validRange": {"min": "1G", "step": "1G"}}}}}]);
    let world = || World::of(&[slice("a", "p", nic.clone(), json!({"allNodes": true}))]);
    let asks = |amount: &str| {
        let more = json!({"capacity": {"requests": {"bandwidth": amount}}});
        claim("a", json!({"requests": [exactly("r", 1, more)]}))
    };
    let consumed = |claims: &[Json]| {
        let results = world().allocate("n", claims).unwrap()?;
        let of = |r: &AllocationResult| {
            let device = &r.devices.results[0];
            (device.share_id.clone().unwrap(), device.consumed_capacity["bandwidth"].to_string())
        };
        Some(results.iter().map(of).collect::<Vec<_>>())
    };
    let share = |amount: &str| ("share".to_owned(), amount.to_owned());
    assert_eq!(consumed(&[one("a")]), Some(vec![share("1G")]), "the default");
    assert_eq!(
        consumed(&[asks("2500M"), asks("7G")]),
        Some(vec![share("3000000000"), share("7000000000")]),
        "rounded up"
    );
    assert_eq!(consumed(&[asks("3G"), asks("8G")]), None);
    let used = world()
        .with(json!([{"request": "r", "driver": "dra.example.com", "pool": "p", "device": "nic",
        "shareID": "other", "consumedCapacity": {"bandwidth": "8G"}}]));
    check(&used, "n", &[asks("2G")], "r=p/nic");
    check(&used, "n", &[asks("3G")], "-");
    check(
        &world(),
        "n",
        &[claim(
            "a",
            json!({"requests": [exactly("r", 1, json!({"capacity": {"requests": {"none": "1"}}}))]}),
        )],
        "-",
    );
}

#[test]
fn devices_with_binding_conditions_come_last_and_say_so() {
    let slow = json!([{"name": "d", "bindsToNode": true, "bindingConditions": ["ready"], "bindingFailureConditions": ["broken"]}]);
    let everywhere = || json!({"allNodes": true});
    let world =
        World::of(&[slice("a", "a", slow, everywhere()), slice("b", "b", devices(&["e"]), everywhere())]);
    check(&world, "n", &[one("a"), one("b")], "r=b/e; r=a/d");
    let results = world.allocate("n", &[one("a"), one("b")]).unwrap().unwrap();
    let device = &results[1].devices.results[0];
    assert_eq!(
        (device.binding_conditions.join(","), device.binding_failure_conditions.join(",")),
        ("ready".into(), "broken".into())
    );
    assert!(results[0].node_selector.is_none() && results[1].node_selector.is_some(), "it binds to its node");
}

#[test]
fn configuration_of_class_and_claim_comes_along() {
    let opaque = |of: &str| json!({"opaque": {"driver": "dra.example.com", "parameters": {"of": of}}});
    let world =
        World::of(&[local("a", "n", &["d0", "d1"])]).class("tuned", json!({"config": [opaque("class")]}));
    let tuned = |name: &str| exactly(name, 1, json!({"deviceClassName": "tuned"}));
    let config = |of: &str, requests: &[&str]| {
        let mut config = opaque(of);
        config["requests"] = requests.iter().copied().collect();
        config
    };
    let asks = claim(
        "a",
        json!({"requests": [tuned("r"), tuned("s")],
        "config": [config("all", &[]), config("s", &["s"]), config("none", &["t"])]}),
    );
    let results = world.allocate("n", &[asks]).unwrap().unwrap();
    let found: Vec<String> = results[0]
        .devices
        .config
        .iter()
        .map(|c| format!("{} {}", c.source.as_str(), c.requests.join(",")))
        .collect();
    assert_eq!(found, ["FromClass r,s", "FromClaim ", "FromClaim s"]);
}

#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let world = World::of(&[local("a", "n", &["d0"])]);
    let allocator =
        Allocator::new(world.slices.iter(), InUse::default(), world.classes.clone(), Arc::default());
    let claim: ResourceClaim = read(&one("a"));
    let found = allocator.allocate(&node("n").view(), &[&claim], &|| true, &mut || "share".into());
    assert_eq!(found, Err(Failure::TimedOut));
}
