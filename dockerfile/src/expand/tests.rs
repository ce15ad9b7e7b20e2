use super::*;

fn lookup(name: &str) -> Option<String> {
    let variables = [
        ("a", "value"),
        ("empty", ""),
        ("path", "/x/y.tar.gz"),
        ("blanks", " b  c "),
    ];
    variables
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| (*value).to_owned())
}

fn value(word: &str) -> Result<String, String> {
    let expansion = Expander::new(Escape::Backslash, &lookup).expand(word);
    expansion
        .map(|found| found.value)
        .map_err(|error| error.to_string())
}

#[test]
fn values() {
    let cases = [
        ("$a-${a}-$none-", "value-value--"),
        ("\\$a '$a' \"$a\" \"\\$a\"", "$a $a value $a"),
        ("${none:-d}${none-d}${empty:-d}${empty-d}", "ddd"),
        ("${a:+s}${a+s}${empty:+s}${empty+s}", "sss"),
        ("${a:?m}${empty?m}", "value"),
        (
            "${path##*/} ${path#*/} ${path%.*} ${path%%.*}",
            "y.tar.gz x/y.tar.gz /x/y.tar /x/y",
        ),
        ("${path/?y/-} ${path//\\//:}", "/x-.tar.gz :x:y.tar.gz"),
        ("${none:-${a:+\"$a\"}}", "value"),
        ("a<b << c", "a<b << c"),
        ("C:\\\\x\\", "C:\\x"),
    ];
    for (word, expected) in cases {
        assert_eq!(value(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn wrong_words() {
    let cases = [
        (
            "'a",
            "unexpected end of statement while looking for matching single-quote",
        ),
        (
            "\"a",
            "unexpected end of statement while looking for matching double-quote",
        ),
        ("${a", "syntax error: missing '}'"),
        ("${a:-b", "syntax error: missing '}'"),
        ("${a/b}", "syntax error: missing '/' in ${}"),
        ("${}", "syntax error: bad substitution"),
        ("${a@b}", "unsupported modifier (@) in substitution"),
        ("${a:=b}", "unsupported modifier (:=) in substitution"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${none:?say it}", "none: say it"),
        (
            "${a#\\x}",
            "invalid pattern (\\x) in substitution: invalid escape '\\x'",
        ),
    ];
    for (word, problem) in cases {
        let expected = format!("failed to process {}: {problem}", Quoted(word));
        assert_eq!(value(word), Err(expected), "{word}");
    }
    assert!(value(&"${a:-".repeat(100_000)).is_err_and(|error| error.ends_with("too deeply")));
}

#[test]
fn words_are_split_after_expansion() {
    let words = |text| expand_words(text, &lookup, Escape::Backslash).expect("valid words");
    assert_eq!(
        words("a${blanks}d \"$blanks\""),
        ["a", "b", "c", "d", " b  c "]
    );
    assert_eq!(words("a\\ b 'c d'"), ["a b", "c d"]);
    assert!(words(" $none ").is_empty());
}

#[test]
fn variables_are_reported() {
    let found = Expander::new(Escape::Backslash, &lookup).expand("$a ${none:-$empty} '$no'");
    let found = found.expect("a valid word");
    assert_eq!(found.used.into_iter().collect::<Vec<_>>(), ["a", "empty"]);
    assert_eq!(found.unmatched.into_iter().collect::<Vec<_>>(), ["none"]);
}

#[test]
fn options_leave_things_as_they_are() {
    let keep = |options| {
        let expander = Expander::new(Escape::Backtick, &lookup).with_options(options);
        expander
            .expand("`$a '$a' $none ${none-b}")
            .expect("a valid word")
            .value
    };
    let none = ExpandOptions::default();
    assert_eq!(keep(none), "$a $a  b");
    assert_eq!(
        keep(ExpandOptions {
            keep_quotes: true,
            ..none
        }),
        "$a '$a'  b"
    );
    assert_eq!(
        keep(ExpandOptions {
            keep_escapes: true,
            ..none
        }),
        "`$a $a  b"
    );
    assert_eq!(
        keep(ExpandOptions {
            ignore_quotes: true,
            ..none
        }),
        "$a 'value'  b"
    );
    assert_eq!(
        keep(ExpandOptions {
            keep_unset: true,
            ..none
        }),
        "$a $a $none ${none-b}"
    );
}
