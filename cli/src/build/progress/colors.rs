//! Colours of finished steps: `NO_COLOR` and `BUILDKIT_COLORS`.

/// Escape parameters by what a step came to; `None` leaves it uncoloured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepColors {
    /// It ran, or was reused.
    pub(crate) run: Option<String>,
    /// It failed.
    pub(crate) error: Option<String>,
    /// It was stopped.
    pub(crate) cancel: Option<String>,
    /// A warning.
    pub(crate) warning: Option<String>,
}

/// The names of BuildKit's colours with their parameters (ECMA-48, 8.3.117).
const NAMES: [(&str, &str); 17] = [
    ("default", "39"),
    ("black", "30"),
    ("red", "31"),
    ("green", "32"),
    ("yellow", "33"),
    ("blue", "34"),
    ("magenta", "35"),
    ("cyan", "36"),
    ("white", "37"),
    ("light-black", "90"),
    ("light-red", "91"),
    ("light-green", "92"),
    ("light-yellow", "93"),
    ("light-blue", "94"),
    ("light-magenta", "95"),
    ("light-cyan", "96"),
    ("light-white", "97"),
];

impl StepColors {
    /// No colours at all.
    pub(crate) fn none() -> Self {
        Self {
            run: None,
            error: None,
            cancel: None,
            warning: None,
        }
    }

    /// BuildKit's own, changed by a list such as `run=cyan:error=255,0,0`. What is no colour of a
    /// known thing is left as it is.
    pub(crate) fn read(list: Option<&str>) -> Self {
        let mut colors = Self {
            run: Some("34".into()),
            error: Some("31".into()),
            cancel: Some("33".into()),
            warning: Some("33".into()),
        };
        for field in list.unwrap_or_default().split(':') {
            let Some((name, value)) = field.split_once('=') else {
                continue;
            };
            let Some(color) = color(value) else {
                continue;
            };
            match name.to_lowercase().as_str() {
                "run" => colors.run = Some(color),
                "error" => colors.error = Some(color),
                "cancel" => colors.cancel = Some(color),
                "warning" => colors.warning = Some(color),
                _ => {}
            }
        }
        colors
    }
}

fn color(value: &str) -> Option<String> {
    let value = value.to_lowercase();
    if let Some((_, parameter)) = NAMES.iter().find(|(name, _)| *name == value) {
        return Some((*parameter).to_owned());
    }
    let parts: Vec<u8> = value
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect::<Option<_>>()?;
    match parts[..] {
        [red, green, blue] => Some(format!("38;2;{red};{green};{blue}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let colors = StepColors::read(Some("run=cyan:error=1,2,3:cancel=nope:x=red:warning"));
        assert_eq!(colors.run.as_deref(), Some("36"));
        assert_eq!(colors.error.as_deref(), Some("38;2;1;2;3"));
        assert_eq!(colors.cancel.as_deref(), Some("33"));
        assert_eq!(StepColors::read(None).run.as_deref(), Some("34"));
    }
}
