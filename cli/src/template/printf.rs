//! Go's `fmt.Sprintf`, `Sprint` and `Sprintln` over JSON values.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::datum::Datum;
use super::print;

/// Flags, width and precision of a verb.
#[derive(Clone, Copy, Debug, Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats `arguments` as `fmt.Sprintf` does, its complaints about them included.
pub(super) fn sprintf(format: &str, arguments: &[Datum<'_>]) -> String {
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    let mut remaining = arguments.iter();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let directive = Directive::read(&mut rest, &mut remaining);
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match remaining.next() {
                Some(argument) => out.push_str(&directive.format(verb, argument)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let extra: Vec<_> = remaining.map(typed).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Joins as `fmt.Sprint` does: a space between two operands neither of which is text.
pub(super) fn sprint(arguments: &[Datum<'_>]) -> String {
    let mut out = String::new();
    let mut former_is_text = true;
    for (index, argument) in arguments.iter().enumerate() {
        let is_text = argument.value.is_string();
        if index > 0 && !is_text && !former_is_text {
            out.push(' ');
        }
        former_is_text = is_text;
        out.push_str(&print::datum_text(argument));
    }
    out
}

/// Joins as `fmt.Sprintln` does: always a space between, and a new line at the end.
pub(super) fn sprintln(arguments: &[Datum<'_>]) -> String {
    let texts: Vec<_> = arguments.iter().map(print::datum_text).collect();
    texts.join(" ") + "\n"
}

fn typed(argument: &Datum<'_>) -> String {
    match argument.is_nil() {
        true => "<nil>".into(),
        false => format!("{}={}", argument.type_name(), print::datum_text(argument)),
    }
}

impl Directive {
    fn read<'a, 'd: 'a>(
        rest: &mut Peekable<Chars<'_>>,
        arguments: &mut impl Iterator<Item = &'a Datum<'d>>,
    ) -> Self {
        let mut directive = Self::default();
        loop {
            match rest.peek() {
                Some('-') => directive.minus = true,
                Some('+') => directive.plus = true,
                Some('#') => directive.sharp = true,
                Some(' ') => directive.space = true,
                Some('0') => directive.zero = true,
                _ => break,
            }
            rest.next();
        }
        directive.width = count(rest, arguments);
        if rest.next_if_eq(&'.').is_some() {
            directive.precision = Some(count(rest, arguments).unwrap_or(0));
        }
        directive
    }

    fn format(&self, verb: char, argument: &Datum<'_>) -> String {
        if verb == 'T' {
            return self.pad(argument.type_name().to_owned());
        }
        if argument.is_nil() {
            return match verb {
                'v' => self.pad("<nil>".into()),
                verb => format!("%!{verb}(<nil>)"),
            };
        }
        match argument.value.as_ref() {
            Value::Null => print::datum_text(argument),
            value => self.value(verb, value),
        }
    }

    fn value(&self, verb: char, value: &Value) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.value(verb, item)).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Object(map) => {
                let mut keys: Vec<_> = map.keys().collect();
                keys.sort();
                let pair = |key: &&String| {
                    let name = Value::String((*key).clone());
                    let value = &map[key.as_str()];
                    format!("{}:{}", self.value(verb, &name), self.value(verb, value))
                };
                let pairs: Vec<_> = keys.iter().map(pair).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Value::Bool(value) if matches!(verb, 't' | 'v') => self.pad(value.to_string()),
            Value::String(text) => self.text(verb, text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => self.integer(verb, integer),
                (None, Some(float)) => self.float(verb, float),
                _ => bad(verb, value),
            },
            Value::Null if verb == 'v' => self.pad("<nil>".into()),
            value => bad(verb, value),
        }
    }

    fn text(&self, verb: char, text: &str) -> String {
        let cut = || match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text.to_owned(),
        };
        match verb {
            'v' if self.sharp => self.pad(print::quote(text)),
            's' | 'v' => self.pad(cut()),
            'q' if self.sharp && !text.contains('`') => self.pad(format!("`{}`", cut())),
            'q' => self.pad(print::quote(&cut())),
            'x' => self.pad(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
            'X' => self.pad(text.bytes().map(|byte| format!("{byte:02X}")).collect()),
            verb => bad(verb, &Value::String(text.to_owned())),
        }
    }

    fn integer(&self, verb: char, integer: i64) -> String {
        let magnitude = integer.unsigned_abs();
        let character = || {
            let code = u32::try_from(integer).ok();
            code.and_then(char::from_u32)
                .unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        let prefix = |prefix| if self.sharp { prefix } else { "" };
        match verb {
            'd' | 'v' => self.number("", magnitude.to_string(), integer < 0),
            'x' => self.number(prefix("0x"), format!("{magnitude:x}"), integer < 0),
            'X' => self.number(prefix("0X"), format!("{magnitude:X}"), integer < 0),
            'o' => self.number(prefix("0"), format!("{magnitude:o}"), integer < 0),
            'O' => self.number("0o", format!("{magnitude:o}"), integer < 0),
            'b' => self.number(prefix("0b"), format!("{magnitude:b}"), integer < 0),
            'c' => self.pad(character().to_string()),
            'q' => self.pad(format!("'{}'", character())),
            'U' => self.pad(format!("U+{magnitude:04X}")),
            verb => bad(verb, &Value::from(integer)),
        }
    }

    fn float(&self, verb: char, float: f64) -> String {
        let magnitude = float.abs();
        let precision = self.precision.unwrap_or(6);
        let text = match verb {
            'f' | 'F' => format!("{magnitude:.precision$}"),
            'e' => print::exponent(magnitude, Some(precision)),
            'E' => print::exponent(magnitude, Some(precision)).to_uppercase(),
            'v' | 'g' => self.general(magnitude),
            'G' => self.general(magnitude).to_uppercase(),
            verb => return bad(verb, &Value::from(float)),
        };
        self.number("", text, float.is_sign_negative())
    }

    /// `%g` with a precision counts significant digits and drops trailing zeros.
    fn general(&self, magnitude: f64) -> String {
        let Some(precision) = self.precision.map(|precision| precision.max(1)) else {
            return print::general(magnitude);
        };
        let scientific = print::exponent(magnitude, Some(precision - 1));
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let digits = i32::try_from(precision).unwrap_or(i32::MAX);
        if exponent < -4 || exponent >= digits {
            return format!(
                "{}e{}",
                without_zeros(mantissa),
                &scientific[mantissa.len() + 1..]
            );
        }
        let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
        without_zeros(&format!("{magnitude:.decimals$}")).to_owned()
    }

    /// Puts sign, prefix and zeros before digits.
    fn number(&self, prefix: &str, digits: String, negative: bool) -> String {
        let sign = match (negative, self.plus, self.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        };
        let used = sign.len() + prefix.len() + digits.len();
        let zeros = match self.width {
            Some(width) if self.zero && !self.minus => width.saturating_sub(used),
            _ => 0,
        };
        self.pad(format!("{sign}{prefix}{}{digits}", "0".repeat(zeros)))
    }

    fn pad(&self, text: String) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        match self.minus {
            true => text + &" ".repeat(missing),
            false => " ".repeat(missing) + &text,
        }
    }
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// A width or a precision: digits, or `*` for the next argument.
fn count<'a, 'd: 'a>(
    rest: &mut Peekable<Chars<'_>>,
    arguments: &mut impl Iterator<Item = &'a Datum<'d>>,
) -> Option<usize> {
    // A wider field is of no use to anybody, and would only take memory.
    const WIDEST: usize = 1_000_000;
    if rest.next_if_eq(&'*').is_some() {
        let width = arguments.next()?.value.as_u64()?;
        return usize::try_from(width).ok().map(|width| width.min(WIDEST));
    }
    let mut count = None;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        count = Some((count.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
    }
    count
}

fn bad(verb: char, value: &Value) -> String {
    match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        value => format!(
            "%!{verb}({}={})",
            super::datum::type_name(value),
            print::text(value)
        ),
    }
}
