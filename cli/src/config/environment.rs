//! Variables of the environment, and the places that follow from them.

use std::path::{Path, PathBuf};

use mica_oci::Platform;

use crate::failure::CliError;
use crate::printer::Colors;

/// The environment of the process, read when asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment;

/// Where things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directories {
    /// The store.
    pub(crate) root: PathBuf,
    /// State that ends with a boot.
    pub(crate) runroot: PathBuf,
}

impl Environment {
    /// Returns a variable that is set and not empty.
    pub(crate) fn variable(self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// Returns a variable as it is, also when it is empty: what `-e NAME` passes on.
    pub(crate) fn passed_on(self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Tells whether messages may be coloured.
    pub(crate) fn colors(self) -> Colors {
        match self.variable("NO_COLOR") {
            Some(_) => Colors::Never,
            None => Colors::Automatic,
        }
    }

    /// Chooses the store and the run state: the flag, the variable, or the usual place.
    pub(crate) fn directories(self, root: Option<&Path>, runroot: Option<&Path>) -> Directories {
        let root = root.map(Path::to_owned).or_else(|| self.path("MICA_ROOT"));
        let runroot = runroot
            .map(Path::to_owned)
            .or_else(|| self.path("MICA_RUNROOT"));
        Directories {
            root: root.unwrap_or_else(|| self.usual_root()),
            runroot: runroot.unwrap_or_else(|| self.usual_runroot()),
        }
    }

    fn usual_root(self) -> PathBuf {
        if rustix::process::geteuid().is_root() {
            return "/var/lib/mica".into();
        }
        let data = self.path("XDG_DATA_HOME");
        data.unwrap_or_else(|| self.home().join(".local/share"))
            .join("mica")
    }

    fn usual_runroot(self) -> PathBuf {
        let user = rustix::process::geteuid();
        if user.is_root() {
            return "/run/mica".into();
        }
        match self.path("XDG_RUNTIME_DIR") {
            Some(directory) => directory.join("mica"),
            None => format!("/tmp/mica-{}", user.as_raw()).into(),
        }
    }

    pub(super) fn path(self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }

    pub(super) fn home(self) -> PathBuf {
        self.path("HOME").unwrap_or_else(|| "/root".into())
    }

    /// Returns docker's `config.json`, where logins are kept.
    pub(super) fn docker_config(self) -> PathBuf {
        let directory = self.path("DOCKER_CONFIG");
        directory
            .unwrap_or_else(|| self.home().join(".docker"))
            .join("config.json")
    }

    /// Returns the file of logins that was named for this command.
    pub(super) fn named_auth_file(self) -> Option<PathBuf> {
        self.path("REGISTRY_AUTH_FILE")
    }

    /// Returns the files that podman keeps logins in, the most particular first.
    pub(super) fn podman_auth_files(self) -> Vec<PathBuf> {
        let runtime = self.path("XDG_RUNTIME_DIR");
        let of_session = match runtime {
            Some(directory) => directory.join("containers/auth.json"),
            None => {
                let user = rustix::process::getuid();
                format!("/run/containers/{}/auth.json", user.as_raw()).into()
            }
        };
        vec![of_session, self.user_config("containers/auth.json")]
    }

    pub(super) fn mica_config(self) -> PathBuf {
        self.user_config("mica/config.json")
    }

    /// Returns a path below the user's configuration directory.
    pub(super) fn user_config(self, name: &str) -> PathBuf {
        let directory = self.path("XDG_CONFIG_HOME");
        directory
            .unwrap_or_else(|| self.home().join(".config"))
            .join(name)
    }

    /// Returns a path below the system's configuration directory, `/etc`; `MICA_ETC` is another.
    pub(super) fn system_config(self, name: &str) -> PathBuf {
        self.path("MICA_ETC")
            .unwrap_or_else(|| "/etc".into())
            .join(name)
    }

    /// Returns where docker, podman and containerd look for the certificates of hosts, the user's
    /// own directories first.
    pub(super) fn certificate_directories(self) -> Vec<PathBuf> {
        vec![
            self.user_config("containers/certs.d"),
            self.user_config("docker/certs.d"),
            self.home().join(".docker/certs.d"),
            self.system_config("containers/certs.d"),
            self.system_config("docker/certs.d"),
            self.system_config("containerd/certs.d"),
        ]
    }

    /// Returns the platform that `--platform` or the environment asks for.
    pub(crate) fn platform(self, flag: Option<&str>) -> Result<Option<Platform>, CliError> {
        if let Some(value) = flag {
            let parsed = value
                .parse::<Platform>()
                .map_err(|error| CliError::FlagValue {
                    flag: "--platform",
                    value: value.to_owned(),
                    reason: error.to_string(),
                })?;
            return Ok(Some(parsed));
        }
        const VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";
        let Some(value) = self.variable(VARIABLE) else {
            return Ok(None);
        };
        let parsed = value
            .parse::<Platform>()
            .map_err(|error| CliError::Variable {
                variable: VARIABLE,
                value,
                reason: error.to_string(),
            })?;
        Ok(Some(parsed))
    }
}
