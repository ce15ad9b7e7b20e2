//! Choosing how a build is shown: flags, `BUILDKIT_PROGRESS`, `BUILDKIT_COLORS`, `NO_COLOR`.

use clap::ValueEnum;

use super::progress::{Display, StepColors, Style};
use crate::failure::{CliError, Failure};
use crate::session::Session;

/// How a build is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChosenStyle(Style);

/// Chooses by `--quiet`, `--progress` and the environment.
pub(crate) fn choose(
    quiet: bool,
    progress: Option<Style>,
    session: &Session,
) -> Result<ChosenStyle, Failure> {
    let style = match progress {
        Some(style) => style,
        None => of_environment(session)?,
    };
    if quiet {
        return match progress {
            None | Some(Style::Auto | Style::Quiet | Style::None) => Ok(ChosenStyle(Style::Quiet)),
            Some(style) => Err(not_quiet(style)),
        };
    }
    let printer = session.printer.as_messages();
    if style == Style::Tty && !printer.is_terminal() {
        let text = "cannot show --progress=tty: standard error is no terminal";
        return Err(Failure::from(CliError::NoTerminal(text)).with_hint("use --progress=plain"));
    }
    Ok(ChosenStyle(style))
}

fn not_quiet(style: Style) -> Failure {
    let name = style.to_possible_value();
    let name = name.as_ref().map_or("", |value| value.get_name());
    let message = format!("progress={name} and quiet cannot be used together");
    CliError::Arguments { message }.into()
}

fn of_environment(session: &Session) -> Result<Style, CliError> {
    const VARIABLE: &str = "BUILDKIT_PROGRESS";
    let Some(value) = session.environment.variable(VARIABLE) else {
        return Ok(Style::Auto);
    };
    Style::from_str(&value, true).map_err(|_| CliError::Variable {
        variable: VARIABLE,
        value,
        reason: "expected auto, none, plain, quiet, rawjson or tty".into(),
    })
}

impl ChosenStyle {
    /// Makes the display.
    pub(crate) fn display(self, session: &Session) -> Display {
        let colors = match session.environment.variable("NO_COLOR") {
            Some(_) => StepColors::none(),
            None => {
                let list = session.environment.variable("BUILDKIT_COLORS");
                StepColors::read(list.as_deref())
            }
        };
        Display::new(self.0, session.printer.as_messages(), colors)
    }

    /// Tells whether nothing but the image ID is wanted.
    pub(crate) fn is_quiet(self) -> bool {
        self.0 == Style::Quiet
    }

    /// Tells whether there is room for warnings.
    pub(crate) fn shows_warnings(self) -> bool {
        self.shows_failures() && !self.is_quiet()
    }

    /// Tells whether the last lines of a failed step are shown with its error.
    pub(crate) fn shows_failures(self) -> bool {
        !matches!(self.0, Style::RawJson | Style::None)
    }
}
