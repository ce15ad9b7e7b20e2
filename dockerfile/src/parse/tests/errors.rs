//! What is wrong with a file, and where.

use super::*;

/// Checks the errors of a file: message, and line and column and underlined text.
fn check_errors(text: &str, expected: &[(&str, usize, usize, &str)]) {
    let errors = parse(text).expect_err(text);
    let found: Vec<_> = errors
        .iter()
        .map(|error| {
            let place = (error.position.line, error.position.column);
            (error.to_string(), place.0, place.1, error.span.text(text))
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(message, line, column, mark)| ((*message).to_owned(), *line, *column, *mark))
        .collect();
    assert_eq!(found, expected, "{text:?}");
}

/// Checks the message of the only error of an instruction below `FROM`.
fn check_error(instruction: &str, message: &str) {
    let text = format!("FROM x\n{instruction}");
    let errors = parse(&text).expect_err(instruction);
    let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [message.replace("PARSE", "dockerfile parse error on line 2")],
        "{text:?}"
    );
}

#[test]
fn errors_of_files() {
    check_errors("", &[("the Dockerfile cannot be empty", 1, 1, "")]);
    check_errors("# x\n\n", &[("file with no instructions", 3, 1, "")]);
    check_errors(
        "ARG a=1\n",
        &[("dockerfile contains no stages to build", 1, 8, "")],
    );
    check_errors(
        "RUN a\nENV b=c\nFROM x",
        &[("no build stage in current context", 1, 1, "RUN a")],
    );
    check_errors(
        "# escape=`\n# escape=x\nFROM a",
        &[(
            "only one escape parser directive can be used",
            2,
            1,
            "# escape=x",
        )],
    );
    check_errors(
        "FROM a\nRUN <<x\ny",
        &[("unterminated heredoc", 2, 1, "RUN <<x")],
    );
}

#[test]
fn several_errors_with_places() {
    check_errors(
        "FROM a\n  RUNN b\nCOPY --chwn=1 \\\n  --lnk a b\nENV x\nCMD [1]\nRUN c\n",
        &[
            (
                "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
                2,
                3,
                "RUNN",
            ),
            (
                "dockerfile parse error on line 3: unknown flag: --chwn (did you mean chown?)",
                3,
                6,
                "--chwn=1",
            ),
            ("ENV must have two arguments", 5, 5, "x"),
            (
                "when using JSON array syntax, arrays must be comprised of strings only",
                6,
                5,
                "[1]",
            ),
        ],
    );
    check_errors(
        "FROM a\nRUN x \\\n --y\nCOPY \\\n  --fro=b a /\n",
        &[(
            "dockerfile parse error on line 4: unknown flag: --fro (did you mean from?)",
            5,
            3,
            "--fro=b",
        )],
    );
}

#[test]
fn errors_of_instructions() {
    for (instruction, message) in INSTRUCTION_ERRORS {
        check_error(instruction, message);
    }
}

const INSTRUCTION_ERRORS: &[(&str, &str)] = &[
    (
        "FOO x",
        "PARSE: unknown instruction: FOO (did you mean FROM?)",
    ),
    (
        "RUN --mont=x y",
        "PARSE: unknown flag: --mont (did you mean mount?)",
    ),
    (
        "COPY --link --link a b",
        "PARSE: duplicate flag specified: --link",
    ),
    (
        "COPY --chown a b",
        "PARSE: missing a value on flag: --chown",
    ),
    (
        "COPY --link=1 a b",
        "PARSE: expecting boolean value for flag --link, not: 1",
    ),
    ("COPY --link= a b", "PARSE: missing a value on flag: --link"),
    ("CMD --x y", "PARSE: unknown flag: --x"),
    (
        "COPY a",
        "PARSE: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    (
        "COPY a <<b\nb",
        "PARSE: COPY cannot accept a heredoc as a destination",
    ),
    (
        "FROM a b",
        "PARSE: FROM requires either one or three arguments",
    ),
    (
        "FROM a AS 1",
        "PARSE: invalid name for build stage: \"1\", name can't start with a number or contain symbols",
    ),
    ("ENV", "PARSE: ENV requires at least one argument"),
    (
        "ENV a=b c",
        "Syntax error - can't find = in \"c\". Must be of the form: name=value",
    ),
    ("LABEL =b", "PARSE: LABEL names can not be blank"),
    ("ARG =b", "PARSE: ARG names can not be blank"),
    ("USER", "PARSE: USER requires exactly one argument"),
    (
        "VOLUME [\" \"]",
        "PARSE: VOLUME specified can not be an empty string",
    ),
    (
        "SHELL a",
        "PARSE: SHELL requires the arguments to be in JSON form",
    ),
    ("ONBUILD", "PARSE: ONBUILD requires at least one argument"),
    (
        "ONBUILD ONBUILD RUN x",
        "PARSE: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    (
        "ONBUILD from x",
        "PARSE: FROM isn't allowed as an ONBUILD trigger",
    ),
    (
        "ONBUILD COPY a",
        "PARSE: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    (
        "HEALTHCHECK",
        "PARSE: HEALTHCHECK requires at least one argument",
    ),
    (
        "HEALTHCHECK NONE x",
        "PARSE: HEALTHCHECK NONE takes no arguments",
    ),
    (
        "HEALTHCHECK x",
        "PARSE: Unknown type \"X\" in HEALTHCHECK (try CMD)",
    ),
    (
        "HEALTHCHECK CMD",
        "PARSE: Missing command after HEALTHCHECK CMD",
    ),
    (
        "HEALTHCHECK --interval=10us CMD x",
        "PARSE: Interval \"interval\" cannot be less than 1ms",
    ),
    (
        "HEALTHCHECK --timeout=1 CMD x",
        "PARSE: time: missing unit in duration \"1\"",
    ),
    (
        "HEALTHCHECK --retries=-1 CMD x",
        "PARSE: --retries cannot be negative (-1)",
    ),
    (
        "HEALTHCHECK --retries=x CMD x",
        "PARSE: strconv.ParseInt: parsing \"x\": invalid syntax",
    ),
    ("RUN --network=x y", "PARSE: invalid network mode \"x\""),
    ("RUN --security=x y", "PARSE: security \"x\" is not valid"),
    (
        "RUN --mount=from=$x y",
        "PARSE: 'from' doesn't support variable expansion, define alias stage instead",
    ),
    (
        "RUN --mount=\"\\\"a\" y",
        "PARSE: failed to parse csv mounts: extraneous or missing \" in quoted-field",
    ),
];

#[test]
fn flags_match_the_known_names() {
    for name in INSTRUCTION_NAMES {
        for flag in crate::flags_of(name) {
            let text = format!("FROM x\n{name} --{flag}=1 CMD x\n");
            let errors = parse(&text).err().unwrap_or_default();
            let unknown = |error: &ParseError| matches!(error.kind, ErrorKind::UnknownFlag(_));
            assert!(!errors.iter().any(unknown), "{name} --{flag}: {errors:?}");
        }
    }
}

#[test]
fn the_good_part_of_a_wrong_file_is_kept() {
    let (file, errors) = parse_partial("FROM a\nWRONGWORD\nRUN b\n");
    assert_eq!((errors.len(), file.stages[0].instructions.len()), (1, 1));
}
