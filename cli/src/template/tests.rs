//! Expected values are what docker 28's own client printed for the same template and data, but
//! where the remark says otherwise.

use serde_json::{Value, json};

use super::*;

const SHAPES: Shapes = Shapes {
    text_maps: &["Labels"],
    maps: &["M", "n"],
    lists: &["Cmd"],
    optional_texts: &["Variant"],
    optional: &["Cmd", "M", "Healthcheck"],
};

fn data() -> Value {
    json!({
        "S": "hello world", "N": 12, "F": 1.5, "B": true, "Z": null, "E": "",
        "L": ["a", "b", "c"], "M": {"k": "v", "a": 1, "n": {"x": [1, 2]}},
        "EL": [], "EM": {}, "H": "<a&b>",
        "Labels": null, "Cmd": null,
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4000"}]},
        "State": {"Pid": 42, "Status": "running"},
    })
}

fn check(template: &str, expected: &str) {
    let outcome =
        Template::parse(template).and_then(|parsed| parsed.with_shapes(SHAPES).render(&data()));
    let actual = match outcome {
        Ok(text) => text,
        Err(error) => error
            .to_string()
            .replace("template parsing error: template: ", "!"),
    };
    assert_eq!(actual, expected, "{template}");
}

#[test]
fn values_are_printed_as_go_prints_them() {
    for (template, expected) in [
        ("{{ .State.Pid }}", "42"),
        (
            "{{.N}} {{1e3}} {{1.50}} {{0x10}} {{100000000000}} {{1e21}}",
            "12 1000 1.5 16 100000000000 1e+21",
        ),
        ("{{1}} {{-1}} {{+1}} {{'a'}}", "1 -1 1 97"),
        ("{{.M}}", "map[a:1 k:v n:map[x:[1 2]]]"),
        ("{{.L}} {{.EL}} {{.EM}}", "[a b c] [] map[]"),
        ("{{.Z}}|{{.E}}|{{.B}}", "<no value>||true"),
        // A nil map[string]string and a nil []string.
        ("{{.Labels}} {{.Cmd}}", "map[] []"),
        (
            "{{json .M}} {{.S | json}} {{json .F}} {{json .Z}} {{json .H}}",
            r#"{"k":"v","a":1,"n":{"x":[1,2]}} "hello world" 1.5 null "<a&b>""#,
        ),
        ("{{json nil}}", "null"),
        (r#"{{"\n"}}|{{"\t\x41\u00e9\101"}}"#, "\n|\tAéA"),
        ("{{`a\\n{{`}}", "a\\n{{"),
        ("plain", "plain"),
        ("", ""),
    ] {
        check(template, expected);
    }
}

#[test]
fn missing_keys_depend_on_what_the_field_is() {
    for (template, expected) in [
        (r#"{{index .M "zz"}}"#, "<no value>"),
        ("{{.M.zz}}", "<no value>"),
        ("{{.M.zz.y}}", "<no value>"),
        ("{{.M.n.zz.y}}", "<no value>"),
        // Of a map[string]string, nil or not.
        (r#"{{.Labels.x}}|{{index .Labels "x"}}|"#, "<no value>||"),
        ("{{len .Labels}}{{len .Cmd}}{{join .Cmd \",\"}}", "00"),
        // Fields of a struct that its JSON leaves out.
        ("{{.Variant}}|{{.State.Cmd}}{{.State.M}}", "|[]map[]"),
        ("{{json .State.Cmd}} {{.Healthcheck}}", "null <nil>"),
        ("{{if .Healthcheck}}y{{end}}{{range .State.M}}x{{end}}", ""),
        (
            "{{.X}}",
            r#"!:1:2: executing "" at <.X>: map has no entry for key "X""#,
        ),
        (
            "{{.State.X}}",
            r#"!:1:8: executing "" at <.State.X>: map has no entry for key "X""#,
        ),
        (
            "{{.Z.y}}",
            r#"!:1:4: executing "" at <.Z.y>: nil pointer evaluating interface {}.y"#,
        ),
        (
            "{{.S.y}}",
            r#"!:1:4: executing "" at <.S.y>: can't evaluate field y in type interface {}"#,
        ),
        (
            "{{ .L.x }}",
            r#"!:1:5: executing "" at <.L.x>: can't evaluate field x in type interface {}"#,
        ),
        (
            "a\n{{.X}}",
            r#"!:2:2: executing "" at <.X>: map has no entry for key "X""#,
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn index_slice_and_len() {
    for (template, expected) in [
        ("{{index .L 1}}", "b"),
        (r#"{{index .M "n" "x" 1}}"#, "2"),
        (r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "4000"),
        (r#"{{ (index .M "n").x }}"#, "[1 2]"),
        ("{{index .S 1}}", "101"),
        ("{{slice .S 1 3}} {{slice .L 1}}", "el [b c]"),
        ("{{len .M}} {{len .S}} {{len .L}}", "3 11 3"),
        (
            "{{index .L 5}}",
            r#"!:1:2: executing "" at <index .L 5>: error calling index: index out of range: 5"#,
        ),
        (
            "{{index .L -1}}",
            r#"!:1:2: executing "" at <index .L -1>: error calling index: index out of range: -1"#,
        ),
        (
            r#"{{index .L "a"}}"#,
            r#"!:1:2: executing "" at <index .L "a">: error calling index: cannot index slice/array with type string"#,
        ),
        (
            "{{index .L 1.0}}",
            r#"!:1:2: executing "" at <index .L 1.0>: error calling index: cannot index slice/array with type float64"#,
        ),
        (
            "{{index .M 1}}",
            r#"!:1:2: executing "" at <index .M 1>: error calling index: value has type int; should be string"#,
        ),
        (
            "{{index nil 1}}",
            r#"!:1:2: executing "" at <index nil 1>: error calling index: index of untyped nil"#,
        ),
        (
            "{{slice .S 5 99}}",
            r#"!:1:2: executing "" at <slice .S 5 99>: error calling slice: index out of range: 99"#,
        ),
        (
            "{{len .Z}}",
            r#"!:1:2: executing "" at <len .Z>: error calling len: len of nil pointer"#,
        ),
        (
            "{{len 3}}",
            r#"!:1:2: executing "" at <len 3>: error calling len: len of type int"#,
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn blocks_choose_and_repeat() {
    for (template, expected) in [
        ("{{range $i,$e := .L}}{{$i}}={{$e}} {{end}}", "0=a 1=b 2=c "),
        (
            "{{range $k, $v := .M}}{{$k}}:{{$v}};{{end}}",
            "a:1;k:v;n:map[x:[1 2]];",
        ),
        ("{{range .EL}}x{{else}}none{{end}}", "none"),
        ("{{range .L}}{{.}}{{break}}{{end}}", "a"),
        (
            r#"{{range .L}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}"#,
            "ac",
        ),
        (
            "{{range $p, $c := .Ports}}{{$p}}->{{(index $c 0).HostPort}}{{end}}",
            "80/tcp->4000",
        ),
        ("{{range .L}}{{$.N}}{{end}}", "121212"),
        ("{{if .E}}a{{else if .B}}b{{else}}c{{end}}", "b"),
        ("{{if .E}}a{{else if .Z}}b{{else}}c{{end}}", "c"),
        ("{{if and .B .S}}y{{end}}{{if or .E .Z}}n{{end}}", "y"),
        ("{{with .E}}a{{else with .S}}{{.}}{{end}}", "hello world"),
        (
            "{{with $x := .State}}{{$x.Pid}} {{.Status}}{{end}}",
            "42 running",
        ),
        ("{{ $x := .S }}{{$x}}{{$x = \"q\"}}{{$x}}", "hello worldq"),
        ("{{$s := .State}}{{$s.Pid}}", "42"),
        (r#"{{define "t"}}<{{.}}>{{end}}{{template "t" .N}}"#, "<12>"),
        (r#"{{block "b" .S}}[{{.}}]{{end}}"#, "[hello world]"),
        (r#"{{"a"}}b{{- " c" -}} d"#, "ab cd"),
        ("{{/* x */}}y", "y"),
        ("a {{- /* x */ -}} b", "ab"),
        (
            "{{range .S}}x{{end}}",
            r#"!:1:8: executing "" at <.S>: range can't iterate over hello world"#,
        ),
        (
            r#"{{template "x"}}"#,
            r#"!:1:11: executing "" at <{{template "x"}}>: template "x" not defined"#,
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn comparisons_and_logic() {
    for (template, expected) in [
        (
            "{{eq .N 12}} {{eq .N 1 12}} {{ne .S \"x\"}} {{eq .Z \"x\"}}",
            "true true true false",
        ),
        (
            "{{ge 2 1}} {{le 1 1}} {{gt .F 1.0}} {{lt .S \"x\"}}",
            "true true true true",
        ),
        (
            "{{not .Z}} {{and .S .E}}|{{or .E .S}} {{or .E .Z}}",
            "true |hello world <no value>",
        ),
        // The second argument of a decided `and` is not evaluated.
        ("{{and .E (index .L 9)}}", ""),
        (
            "{{eq .S 1}}",
            r#"!:1:2: executing "" at <eq .S 1>: error calling eq: incompatible types for comparison"#,
        ),
        (
            "{{eq 1 1.0}}",
            r#"!:1:2: executing "" at <eq 1 1.0>: error calling eq: incompatible types for comparison"#,
        ),
        (
            "{{eq .L .L}}",
            r#"!:1:2: executing "" at <eq .L .L>: error calling eq: non-comparable type [a b c]: []interface {}"#,
        ),
        (
            "{{eq 1}}",
            r#"!:1:2: executing "" at <eq 1>: error calling eq: missing argument for comparison"#,
        ),
        (
            "{{ne 1}}",
            r#"!:1:2: executing "" at <ne>: wrong number of args for ne: want 2 got 1"#,
        ),
        (
            "{{lt true false}}",
            r#"!:1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison"#,
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn formatting_follows_fmt() {
    for (template, expected) in [
        (
            r#"{{printf "%s %d %v %q %x %5.2f %-13s| %t %T %%" .S .N .N .S .S .F .S .B .S}}"#,
            r#"hello world 12 12 "hello world" 68656c6c6f20776f726c64  1.50 hello world  | true string %"#,
        ),
        (r#"{{printf "%d" .S}}"#, "%!d(string=hello world)"),
        (
            r#"{{printf "%d"}} {{printf "a" 1}} {{printf "%z" 1}} {{printf "%v %s %d" .Z .Z .Z}}"#,
            "%!d(MISSING) a%!(EXTRA int=1) %!z(int=1) <nil> %!s(<nil>) %!d(<nil>)",
        ),
        (
            r#"{{printf "%q" .L}} {{printf "%T %T %T %T" .L .M .Z 1}}"#,
            r#"["a" "b" "c"] []interface {} map[string]interface {} <nil> int"#,
        ),
        (
            r#"{{printf "%6.2f|%+d|%05d|%x|%X|%o|%b|%c|%U|%e|%g" .F 3 42 255 255 8 5 65 65 .F .F}}"#,
            "  1.50|+3|00042|ff|FF|10|101|A|U+0041|1.500000e+00|1.5",
        ),
        (
            r#"{{printf "%-5d|%5s|%.2s|%*d" 3 "a" "abcdef" 5 1}}"#,
            "3    |    a|ab|    1",
        ),
        (
            r##"{{printf "%#v %#x %#q" "a" 255 "x"}}"##,
            r#""a" 0xff `x`"#,
        ),
        (r#"{{printf "%v" .M}}"#, "map[a:1 k:v n:map[x:[1 2]]]"),
        (r#"{{ .S | printf "%s-%s" "a" }}"#, "a-hello world"),
        (
            r#"{{print 1 2 "a" "b" 3}}|{{println 1 "a"}}"#,
            "1 2ab3|1 a\n",
        ),
        (
            "{{print .L .M .Z nil}}",
            "[a b c] map[a:1 k:v n:map[x:[1 2]]] <nil> <nil>",
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn functions_over_text() {
    for (template, expected) in [
        ("{{join .L \",\"}} {{.L | len}}", "a,b,c 3"),
        (
            "{{truncate .S 5}} {{pad .S 2 3}} {{title .S}} {{upper .S}} {{lower \"ABC\"}} {{split .S \" \"}}",
            "hello   hello world    Hello World HELLO WORLD abc [hello world]",
        ),
        (
            "{{html .H}} {{js .H}} {{urlquery .H}}",
            r"&lt;a&amp;b&gt; \u003Ca\u0026b\u003E %3Ca%26b%3E",
        ),
        (r#"{{html "a" "b"}}"#, "ab"),
        (r#"{{join (split .S " ") "-"}}"#, "hello-world"),
        (
            "{{truncate .N 5}}",
            r#"!:1:11: executing "" at <.N>: wrong type for value; expected string; got int"#,
        ),
        (
            "{{join .S \",\"}}",
            r#"!:1:7: executing "" at <.S>: wrong type for value; expected []string; got string"#,
        ),
        (
            "{{split .S}}",
            r#"!:1:2: executing "" at <split>: wrong number of args for split: want 2 got 1"#,
        ),
        (
            "{{.S 1}}",
            r#"!:1:2: executing "" at <.S>: S is not a method but has arguments"#,
        ),
        (
            "{{nil}}",
            r#"!:1:2: executing "" at <nil>: nil is not a command"#,
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for (template, expected) in [
        ("{{if}}x{{end}}", "!:1: missing value for if"),
        (
            "{{1 | 2}}",
            "!:1: non executable command in pipeline stage 2",
        ),
        ("{{$y}}", r#"!:1: undefined variable "$y""#),
        (r#"{{"a""b"}}"#, r#"!:1: unexpected "\"b\"" in operand"#),
        ("{{break}}", "!:1: {{break}} outside {{range}}"),
        ("{{", "!:1: unclosed action"),
        ("{{.{", "!:1: bad character U+007B '{'"),
        ("{{{", r#"!:1: unexpected "{" in command"#),
        ("{{ \"a", "!:1: unterminated quoted string"),
        ("{{ `a", "!:1: unterminated raw quoted string"),
        ("{{ (1{", r#"!:1: unexpected "{" in operand"#),
        ("{{ )}}", "!:1: unexpected right paren"),
        ("{{ (1}}", "!:1: unclosed left paren"),
        ("{{end}}", "!:1: unexpected {{end}}"),
        ("\n{{if .S}}", "!:2: unexpected EOF"),
        ("{{.S }", r#"!:1: unexpected "}" in operand"#),
        ("{{a.b}}", r#"!:1: function "a" not defined"#),
        ("{{/* x }}", "!:1: unclosed comment"),
        ("{{  -}}", "!:1: missing value for command"),
    ] {
        check(template, expected);
    }
}

#[test]
fn a_template_that_calls_itself_ends() {
    let template = r#"{{define "t"}}{{template "t"}}{{end}}{{template "t"}}"#;
    let error = Template::parse(template)
        .unwrap()
        .render(&data())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("exceeded maximum template depth"),
        "{error}"
    );
}
