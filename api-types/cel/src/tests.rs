//! The engine: what expressions give, what they cost, what is said about those that do not compile.

use super::*;
use serde_json::json;

fn says(source: &str) -> String {
    let env = Env::default().with("o", Type::Dyn).with("n", Type::Int);
    match env.compile(source) {
        Err(error) => error.issues.iter().map(|issue| issue.message.clone()).collect::<Vec<_>>().join("; "),
        Ok(program) => {
            let object = json!({"a": 1, "f": 1.5, "s": "abc", "l": [3, 1, 2], "t": ["b", "a"], "z": null,
                "m": {"x": "1", "y": "2"}, "in-list": {"a.b": 7}});
            let activation = Activation::new(vec![Value::plain(&object), Value::Int(5)], &[]);
            match program.eval(&activation).0 {
                Ok(value) => match value.json() {
                    Ok(json) => json.to_string(),
                    Err(_) => format!("{value:?}"),
                },
                Err(error) => format!("! {error}"),
            }
        }
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(source, expected)| {
            let found = says(source);
            (found != *expected).then(|| format!("{source}\n   gave {found}\n   not  {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_language() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("o.a + 1 == 2 && o.s == 'abc'", "true"),
        ("o.f > 1", "true"),
        ("has(o.a) && !has(o.q)", "true"),
        ("has(o.z) && o.z == null", "true"),
        ("o.q", "! no such key: q"),
        ("o.q == 1 || true", "true"),
        ("false && o.q == 1", "false"),
        ("o.l[5]", "! index out of bounds: 5"),
        ("1 / (n - 5)", "! division by zero"),
        ("9223372036854775807 + n", "! integer overflow"),
        ("n > 3 ? 'big' : 'small'", "\"big\""),
        ("2 in o.l && 'x' in o.m && !(9 in o.l)", "true"),
        ("o.m.x + o.m['y']", "\"12\""),
        ("o['in-list']['a.b']", "7"),
        ("o.l.all(x, x > 0) && o.l.exists(x, x == 3) && o.l.exists_one(x, x == 2)", "true"),
        ("o.l.map(x, x * 2)", "[6,2,4]"),
        ("o.l.map(x, x > 1, x * 2)", "[6,4]"),
        ("o.l.filter(x, x > 1)", "[3,2]"),
        ("o.m.all(k, k.size() == 1)", "true"),
        ("o.l.exists(x, x / 0 == 1 || x == 2)", "true"),
        ("o.l.all(x, x / (x - 2) < 9)", "! division by zero"),
        ("type(o.a) == int && type(o.s) == string && type(o.l) == list", "true"),
        ("int('42') + int(2.9) + int(uint(1))", "45"),
        ("string(1.0) + string(2.5) + string(true)", "\"12.5true\""),
        ("size('häuser') == 6 && b'abc'.size() == 3", "true"),
        ("timestamp('2024-02-29T12:30:00Z').getMonth()", "1"),
        ("timestamp('2024-02-29T12:30:00Z') + duration('1h30m')", "\"2024-02-29T14:00:00Z\""),
        ("string(duration('1h') - duration('30m'))", "\"1800s\""),
        ("'abc'.matches('^a.c$')", "true"),
        ("{'a': 1, 'b': 2}.b", "2"),
        ("dyn(1) == 1.0", "true"),
    ]);
}

#[test]
fn macros_with_two_variables_and_optionals() {
    check(&[
        ("o.l.all(i, v, i < 3 && v > 0)", "true"),
        ("o.m.exists(k, v, k == 'y' && v == '2')", "true"),
        ("o.l.existsOne(i, v, i == v)", "false"),
        ("o.l.transformList(i, v, i + v)", "[3,2,4]"),
        ("o.l.transformList(i, v, v > 1, v)", "[3,2]"),
        ("o.m.transformMap(k, v, v + '!')", r#"{"x":"1!","y":"2!"}"#),
        ("o.m.transformMapEntry(k, v, {v: k})", r#"{"1":"x","2":"y"}"#),
        ("o.?q.orValue(3)", "3"),
        ("o.?m.?x.orValue('-')", "\"1\""),
        ("o.l[?9].hasValue()", "false"),
        ("o.m[?'x'].value()", "\"1\""),
        ("optional.of(n).optMap(x, x + 1).value()", "6"),
        ("optional.none().or(optional.of(2)).value()", "2"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("[1, ?optional.none(), 3]", "[1,3]"),
        ("{'a': 1, ?'b': o.?q}", r#"{"a":1}"#),
        ("optional.none().value()", "! optional.none() dereference"),
    ]);
}

#[test]
fn kubernetes_libraries() {
    check(&[
        ("['a', 'b'].join('-') + 'a,b,c'.split(',')[1]", "\"a-bb\""),
        ("'abc'.charAt(1) + 'abc'.substring(1) + 'ABC'.lowerAscii()", "\"bbcabc\""),
        ("'a.b.c'.replace('.', '-') + ' x '.trim()", "\"a-b-cx\""),
        ("'tacocat'.indexOf('ac') * 10 + 'tacocat'.lastIndexOf('a')", "15"),
        ("'%s is %d, %.2f %x'.format(['n', 5, 1.5, 255])", "\"n is 5, 1.50 ff\""),
        (
            "o.t.isSorted() || o.l.sum() == 6 && o.l.min() == 1 && o.l.max() == 3 && o.l.indexOf(2) == 2",
            "true",
        ),
        ("[].min()", "! min called on empty list"),
        ("'abc 123 def 456'.find('[0-9]+')", "\"123\""),
        ("'123 abc 456'.findAll('[0-9]+')", r#"["123","456"]"#),
        (
            "url('https://u@a.b:80/p?q=1&q=2').getHost() + url('https://a.b:80/p').getHostname()",
            "\"a.b:80a.b\"",
        ),
        ("url('https://a.b/p?q=1&q=2').getQuery()", r#"{"q":["1","2"]}"#),
        ("isURL('nothing')", "false"),
        ("ip('192.168.0.1').family() == 4 && isIP('::1') && ip('127.0.0.1').isLoopback()", "true"),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.2.0.0/16'))",
            "true",
        ),
        ("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\""),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi')) && isQuantity('2k') && !isQuantity('x')", "true"),
        ("quantity('50k').add(20).asInteger()", "50020"),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2", "true"),
        (
            "sets.contains([1, 2, 3], [2]) && !sets.intersects([1], [2]) && sets.equivalent([1, 2], [2, 1, 1])",
            "true",
        ),
        (
            "format.dns1123Label().validate('Bad').hasValue() && !format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()",
            "true",
        ),
        (
            "[3, 1, 2].sort() == [1, 2, 3] && [1, 1].distinct().size() == 1 && lists.range(3) == [0, 1, 2]",
            "true",
        ),
        ("['bb', 'a'].sortBy(s, s.size())[0]", "\"a\""),
        ("[[1], [2, 3]].flatten().reverse().slice(0, 2)", "[3,2]"),
    ]);
}

#[test]
fn what_does_not_compile() {
    check(&[
        ("o.", "Syntax error: no viable alternative at input '.'"),
        ("q == 1", "undeclared reference to 'q' (in container '')"),
        (
            "q.f(1)",
            "undeclared reference to 'q' (in container ''); undeclared reference to 'f' (in container '')",
        ),
        ("1 + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("n.f", "type 'int' does not support field selection"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        (
            "n.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("'a'.matches('(')", "invalid matches argument"),
        ("o.l.all(1, true)", "argument must be a simple name"),
        ("{'a': 1}.map(k, k + 1)", "found no matching overload for '_+_' applied to '(string, int)'"),
    ]);
}

#[test]
fn mistakes_are_shown_in_their_line() {
    let env = Env::default();
    let error = env.compile("true &&\n  x").expect_err("nobody declared x");
    assert_eq!(
        error.to_string(),
        "ERROR: <input>:2:3: undeclared reference to 'x' (in container '')\n |   x\n | ..^"
    );
}

#[test]
fn costs_are_bounded() {
    let env = Env::default().with("l", Type::list(Type::Int));
    let program = env.compile("l.all(x, l.all(y, x == y))").expect("it compiles");
    let run = |count: usize| {
        let list = Json::from(vec![0; count]);
        program.eval(&Activation::new(vec![Value::plain(&list)], &[])).0.map(|value| value.json())
    };
    assert_eq!(run(10), Ok(Ok(json!(true))));
    assert_eq!(run(1000), Err(EvalError::CostLimit));
    // Nesting that would blow the stack is refused, not run.
    assert!(env.compile(&"(".repeat(3000)).is_err());
    assert!(env.compile(&format!("l{}", "[0]".repeat(3000))).is_err());
    assert!(env.compile(&format!("l{}", ".a".repeat(30000))).is_err());
    assert!(env.compile(&"-".repeat(5000)).is_err());
}

use serde_json::Value as Json;

#[test]
fn types_are_inferred_through_loops() {
    let env = Env::default().with("l", Type::list(Type::String));
    let ty = |source: &str| env.compile(source).expect(source).ty().to_string();
    assert_eq!(ty("l.map(x, x.size())"), "list(int)");
    assert_eq!(ty("l.map(x, x + 'a')[0]"), "string");
    assert_eq!(ty("l.filter(x, x != '').join(',')"), "string");
    assert_eq!(ty("l.transformMap(i, v, i)"), "map(int, int)");
    assert_eq!(ty("l[?0].orValue('')"), "string");
}

#[test]
fn objects_are_made() {
    let object = json!({"l": [1, 2], "s": "a/b~c"});
    let env = Env::default().with("o", Type::Dyn).with_made();
    let says = |source: &str| match env.compile(source) {
        Err(error) => error.issues.iter().map(|issue| issue.message.clone()).collect::<Vec<_>>().join("; "),
        Ok(program) => {
            let activation = Activation::new(vec![Value::plain(&object)], &[]);
            match program.eval(&activation).0 {
                Ok(value) => match (&value, value.json()) {
                    (Value::Made(made), Ok(json)) => {
                        format!("{} {json} {}", program.ty(), made.misplaced().join("; "))
                    }
                    (_, Ok(json)) => format!("{} {json}", program.ty()),
                    (_, Err(why)) => why,
                },
                Err(error) => format!("! {error}"),
            }
        }
    };
    for (source, expected) in [
        ("Object{spec: Object.spec{replicas: 3}}", r#"Object {"spec":{"replicas":3}} "#),
        (
            "Object{spec: Object.wrong{replicas: 3}}",
            r#"Object {"spec":{"replicas":3}} unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type"#,
        ),
        (
            "Object{spec: Object.spec{l: o.l.map(x, Object.spec.l{n: x})}}",
            r#"Object {"spec":{"l":[{"n":1},{"n":2}]}} "#,
        ),
        ("Object{?a: o[?'q'], ?s: o[?'s']}", r#"Object {"s":"a/b~c"} "#),
        (
            "Object{metadata: Object.metadata{labels: {1: 'a'}}}",
            r#"fail to convert field "metadata": fail to convert field "labels": map key "1" is of type types.Int, not string"#,
        ),
        (
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey(o.s), value: 1}]",
            r#"list(JSONPatch) [{"op":"add","path":"/a/a~1b~0c","value":1}]"#,
        ),
        ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{what: 1}", "undefined field 'what'"),
        ("Other{a: 1}", "undeclared reference to 'Other' (in container '')"),
        ("Object{a: 1}.a == 1", "bool true"),
        ("has(Object{a: 1}.b)", "bool false"),
        ("Object{a: 1} == Object{a: 1}", "bool true"),
    ] {
        assert_eq!(says(source), expected, "{source}");
    }
    assert!(Env::default().compile("Object{a: 1}").is_err());
    assert!(Env::default().compile("jsonpatch.escapeKey('a')").is_err());
}

#[test]
fn selected_fields_are_known() {
    let env = Env::default().with("claims", Type::map(Type::String, Type::Any)).with("other", Type::Dyn);
    let check = |source: &str, expected: bool| {
        let program = env.compile(source).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(program.selects("claims", "email"), expected, "{source}");
    };
    check("claims.email", true);
    check("claims.email.startsWith('a') ? claims.sub : 'x'", true);
    check("has(claims.email) && true", true);
    check("claims.?email.orValue('')", true);
    check("['a'].map(x, claims.email + x)", true);
    check("{'a': [claims.email]}", true);
    check("claims['email']", false);
    check("other.email", false);
    check("claims.email_verified", false);
    check("'claims.email'", false);
}
