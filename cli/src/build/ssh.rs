//! `--ssh default|ID[=SOCKET|KEY[,KEY…]]`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use mica_builder::SshSource;

use super::arguments::invalid;
use crate::failure::CliError;
use crate::session::Session;

/// Reads the `--ssh` flags.
pub(crate) fn ssh(
    texts: &[String],
    session: &Session,
) -> Result<BTreeMap<String, SshSource>, CliError> {
    texts.iter().map(|text| source(text, session)).collect()
}

fn source(text: &str, session: &Session) -> Result<(String, SshSource), CliError> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths),
        None => (text, ""),
    };
    let paths: Vec<PathBuf> = paths
        .split(',')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    if paths.is_empty() {
        let agent = session.environment.variable("SSH_AUTH_SOCK");
        let agent = agent.ok_or_else(|| {
            let reason = "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set";
            invalid("--ssh", text, reason)
        })?;
        return Ok((id.to_owned(), SshSource::Agent(agent.into())));
    }
    let mut sockets = 0;
    for path in &paths {
        let metadata = fs::metadata(path).map_err(|source| CliError::File {
            action: "open the ssh key or socket",
            path: path.clone(),
            source,
        })?;
        sockets += usize::from(metadata.file_type().is_socket());
    }
    let source = match (sockets, paths.len()) {
        (0, _) => SshSource::Keys(paths),
        (1, 1) => SshSource::Agent(paths[0].clone()),
        _ => {
            let reason = "only single socket allowed";
            return Err(invalid("--ssh", text, reason));
        }
    };
    Ok((id.to_owned(), source))
}
