//! `mica info --registry HOST`: what all configuration files come to for one host.

use mica_registry_client::{Credentials, Mirror, MirrorScheme, PullFrom};
use serde_json::{Value, json};

use super::registry_name;
use crate::config::{self, Registries, Settings};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::template::Template;

/// Runs the command.
pub(super) fn run(host: &str, format: Option<&str>, session: &Session) -> Outcome {
    let data = describe(host, session)?;
    match format {
        None | Some("") => session.printer.data(text(&data))?,
        Some("json") => session.printer.line(data.to_string())?,
        Some(format) => session
            .printer
            .line(Template::parse(format)?.render(&data)?)?,
    }
    Ok(Exit::Success)
}

/// `HOST` may go on to a namespace or repository.
fn describe(name: &str, session: &Session) -> Result<Value, Failure> {
    let environment = session.environment;
    let bare = name.trim_end_matches('/');
    let host = registry_name(bare);
    let path = bare.strip_prefix(host).unwrap_or_default();
    let name = format!("{host}{path}");
    let registries = Settings::read(environment)?.registries(environment)?;
    let rules = registries.rules();
    let fitting = rules
        .iter()
        .filter_map(|rule| Some((rule.covers(&name)?, rule)));
    let rule = fitting.max_by_key(|(length, rule)| (!rule.prefix.starts_with('*'), *length));
    let named = rule.and_then(|(_, rule)| registries.names.get(&rule.prefix));
    let certificates = registries.certificates(host)?;
    let plain = registries.plain_http();
    let proxies = config::proxies(environment, &registries);
    let location = named.and_then(|named| named.location.as_ref());
    let mirrors = named
        .map(|named| named.mirrors.as_slice())
        .unwrap_or_default();
    let login = config::find_with_place(environment, &name)?;
    Ok(json!({
        "Name": name,
        "Address": match host {
            "docker.io" => "registry-1.docker.io",
            host => host,
        },
        "Location": location.map(|said| json!({ "Value": said.value, "Source": said.by })),
        "Mirrors": mirrors.iter().map(|said| json!({
            "Address": address(&said.value),
            "PullFrom": pull_from(&said.value),
            "Source": said.by,
        })).collect::<Vec<_>>(),
        "Blocked": named.is_some_and(|named| named.blocked.is_some()),
        "BlockedBy": named.and_then(|named| named.blocked.as_ref()),
        "Insecure": plain.lists(host),
        "InsecureBy": registries.insecure.get(host),
        "CertificateAuthorities": certificates.authorities,
        "ClientCertificate": certificates.identity.as_ref().map(|(certificate, _)| certificate),
        "SkipVerify": certificates.is_unverified,
        "Login": login.map(|(credentials, place)| json!({
            "Username": username(&credentials),
            "Source": place,
        })),
        "Aliases": aliases(&registries, &name),
        "HTTPProxy": proxies.http.as_deref().map(without_password),
        "HTTPSProxy": proxies.https.as_deref().map(without_password),
        "NoProxy": proxies.no_proxy,
    }))
}

fn address(mirror: &Mirror) -> String {
    let scheme = match mirror.scheme {
        MirrorScheme::Probed => "",
        MirrorScheme::Http => "http://",
        MirrorScheme::Https => "https://",
    };
    let prefix = mirror.prefix.trim_end_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{scheme}{}{slash}{prefix}", mirror.host)
}

fn pull_from(mirror: &Mirror) -> &'static str {
    match mirror.pull_from {
        PullFrom::All => "all",
        PullFrom::DigestOnly => "digest-only",
        PullFrom::TagOnly => "tag-only",
    }
}

fn username(credentials: &Credentials) -> &str {
    match credentials {
        Credentials::Anonymous => "",
        Credentials::Basic { username, .. } => username,
        Credentials::IdentityToken(_) => "<token>",
    }
}

fn aliases(registries: &Registries, name: &str) -> Value {
    let own = registries.aliases.iter();
    let own = own.filter(|(short, _)| short.starts_with(name));
    own.map(|(short, said)| json!({ "Name": short, "Value": said.value, "Source": said.by }))
        .collect()
}

/// A proxy's address may hold a password.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        _ => url.to_owned(),
    }
}

fn text(data: &Value) -> String {
    let field = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let sourced = |value: &Value, key: &str| match value {
        Value::Null => "none".to_owned(),
        value => format!("{} (from {})", field(&value[key]), field(&value["Source"])),
    };
    let by = |flag: &str, by: &str| match &data[by] {
        Value::Null => field(&data[flag]),
        source => format!("{} (from {})", field(&data[flag]), field(source)),
    };
    let mut out = format!("Registry: {}\n", field(&data["Name"]));
    let mut line = |label: &str, value: String| out.push_str(&format!("{label}: {value}\n"));
    line("Address", field(&data["Address"]));
    line("Location", sourced(&data["Location"], "Value"));
    line("Blocked", by("Blocked", "BlockedBy"));
    line("Insecure", by("Insecure", "InsecureBy"));
    line("Skip verify", field(&data["SkipVerify"]));
    line("Login", sourced(&data["Login"], "Username"));
    line("Client certificate", field(&data["ClientCertificate"]));
    line("HTTP proxy", field(&data["HTTPProxy"]));
    line("HTTPS proxy", field(&data["HTTPSProxy"]));
    line("No proxy", field(&data["NoProxy"]));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    line("Certificate authorities", String::new());
    for path in list(&data["CertificateAuthorities"]) {
        line(" Authority", field(&path));
    }
    line("Mirrors", String::new());
    for mirror in list(&data["Mirrors"]) {
        let kind = field(&mirror["PullFrom"]);
        line(
            " Mirror",
            format!("{} [{kind}]", sourced(&mirror, "Address")),
        );
    }
    line("Short names", String::new());
    for alias in list(&data["Aliases"]) {
        line(
            " Name",
            format!("{} = {}", field(&alias["Name"]), sourced(&alias, "Value")),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown() {
        for (url, expected) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://ada:secret@proxy:3128", "http://***@proxy:3128"),
            ("ada:s@cret@proxy", "***@proxy"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }
}
