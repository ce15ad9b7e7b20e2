//! What a build is asked to do: `--call`, and `--check` for short.

use mica_dockerfile::nearest;

use crate::failure::CliError;

/// The methods of `--call`.
const METHODS: [&str; 5] = ["build", "check", "lint", "outline", "targets"];

/// What is done with a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: Method,
    /// How its result is printed.
    pub(crate) format: Format,
    /// Whether warnings decide the exit code.
    pub(crate) status: Status,
}

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The image is built.
    Build,
    /// The Dockerfile is checked.
    Check,
    /// What the target takes is listed.
    Outline,
    /// The stages are listed.
    Targets,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// As JSON, in BuildKit's shape.
    Json,
}

/// Whether warnings decide the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// They do.
    Counts,
    /// They do not: `ignorestatus=true`.
    Ignored,
}

impl Call {
    /// Reads `METHOD[,format=json][,ignorestatus=true]`; `check` stands for that method.
    pub(crate) fn of(text: &str, check: bool) -> Result<Self, CliError> {
        let mut call = Self {
            method: Method::Build,
            format: Format::Text,
            status: Status::Counts,
        };
        let mut named = false;
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("format", "json")) => call.format = Format::Json,
                Some(("format", "text" | "")) => call.format = Format::Text,
                Some(("format", _)) => return Err(invalid(text, "expected format=json or text")),
                Some(("ignorestatus", value)) => call.status = status(text, value)?,
                Some(_) => return Err(invalid(text, &format!("invalid print field: {field}"))),
                None if named => return Err(invalid(text, "one method is enough")),
                None => {
                    call.method = method(text, field)?;
                    named = true;
                }
            }
        }
        if check {
            call.method = Method::Check;
        }
        Ok(call)
    }
}

fn invalid(text: &str, reason: &str) -> CliError {
    CliError::FlagValue {
        flag: "--call",
        value: text.to_owned(),
        reason: reason.to_owned(),
    }
}

fn status(text: &str, value: &str) -> Result<Status, CliError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(Status::Ignored),
        "false" | "f" | "0" => Ok(Status::Counts),
        _ => Err(invalid(text, "ignorestatus is true or false")),
    }
}

fn method(text: &str, name: &str) -> Result<Method, CliError> {
    match name {
        "build" | "" => Ok(Method::Build),
        "check" | "lint" => Ok(Method::Check),
        "outline" => Ok(Method::Outline),
        "targets" => Ok(Method::Targets),
        other => {
            let near = nearest(other, METHODS).map(|near| format!(" (did you mean {near}?)"));
            let hint = near.unwrap_or_default();
            let reason = format!("expected build, check, outline or targets{hint}");
            Err(invalid(text, &reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let read = |text: &str| {
            let call = Call::of(text, false).expect(text);
            (call.method, call.format, call.status)
        };
        let cases = [
            ("build", (Method::Build, Format::Text, Status::Counts)),
            (
                "check,format=json",
                (Method::Check, Format::Json, Status::Counts),
            ),
            (
                "format=json,lint",
                (Method::Check, Format::Json, Status::Counts),
            ),
            (
                "targets,ignorestatus=true",
                (Method::Targets, Format::Text, Status::Ignored),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        for bad in ["chek", "check,format=xml", "check,outline", "check,x=1"] {
            assert!(Call::of(bad, false).is_err(), "{bad}");
        }
        let error = Call::of("chek", false).expect_err("no such method");
        assert!(error.to_string().contains("did you mean check?"), "{error}");
        let short = Call::of("build,format=json", true).expect("valid");
        assert_eq!((short.method, short.format), (Method::Check, Format::Json));
    }
}
