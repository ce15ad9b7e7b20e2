//! Tools from Python's packages, in environments below the checkout's cache.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use crate::command::run;
use crate::machine::repository;
use crate::peers::needs;
use crate::runner::Skip;

/// Returns the folder `bin` of an environment that has the packages, installed once a checkout. Whoever
/// changes the packages changes the name.
pub fn python_environment(name: &str, packages: &[&str]) -> Result<PathBuf, Skip> {
    needs(&["python3"])?;
    let place = repository().join(".cache/tests").join(name);
    let (bin, done) = (place.join("bin"), place.join("installed"));
    if done.exists() {
        return Ok(bin);
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&place));
    if made.code != 0 {
        return Err(Skip("python3 cannot make environments here".into()));
    }
    let mut install = Command::new(bin.join("python3"));
    install.args(["-m", "pip", "install", "-q", "--no-compile"]);
    install.arg("--disable-pip-version-check").args(packages);
    match run(&mut install) {
        installed if installed.code == 0 => {
            File::create(&done).expect("the checkout is ours");
            Ok(bin)
        }
        failed => {
            let reason = failed.stderr.lines().last().unwrap_or_default().to_owned();
            Err(Skip(format!("{name} cannot be installed: {reason}")))
        }
    }
}
