//! Docker's groups: `mica image ls` is `mica images`, `mica container rm` is `mica rm`.

use clap::Subcommand;

use super::inspect::{self, Kind};
use super::{
    attach, build, builder_du, builder_prune, builds, check, commit, cp, create, df, diff, exec,
    export, history, image_mount, images, import, info, load, logs, pause, port, prune, ps, pull,
    push, rename, rm, rmi, run, save, start, stats, stop, tag, top, unpack, wait,
};
use crate::failure::Outcome;
use crate::session::Session;

/// `mica builder`.
#[derive(Subcommand, Debug)]
pub(crate) enum BuilderCommand {
    /// Past builds: `mica builds`
    #[command(subcommand)]
    History(builds::BuildsCommand),
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Disk usage
    Du(builder_du::DuArgs),
    /// Remove build cache
    Prune(builder_prune::CachePruneArgs),
}

/// `mica image`.
#[derive(Subcommand, Debug)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Show the history of an image
    History(history::HistoryArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs),
    /// Display detailed information on one or more images
    Inspect(inspect::InspectArgs),
    /// Load an image from a tar archive or STDIN
    Load(load::LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::ImagesArgs),
    /// Mount an image's files, read-only
    Mount(image_mount::MountArgs),
    /// Remove unused images
    Prune(prune::ImagePruneArgs),
    /// Download an image from a registry
    Pull(pull::PullArgs),
    /// Upload an image to a registry
    Push(push::PushArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(rmi::RmiArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::SaveArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::TagArgs),
    /// Unmount images
    #[command(visible_alias = "umount")]
    Unmount(image_mount::UnmountArgs),
    /// Unpack the files of an image into a directory
    Unpack(unpack::UnpackArgs),
}

/// `mica container`.
#[derive(Subcommand, Debug)]
pub(crate) enum ContainerCommand {
    Attach(attach::AttachArgs),
    Commit(commit::CommitArgs),
    Cp(cp::CpArgs),
    Create(Box<create::CreateArgs>),
    Diff(diff::DiffArgs),
    Exec(exec::ExecArgs),
    Export(export::ExportArgs),
    /// Display detailed information on one or more containers
    Inspect(inspect::InspectArgs),
    Kill(stop::KillArgs),
    Logs(logs::LogsArgs),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::PsArgs),
    /// Pause all processes within one or more containers
    Pause(pause::PauseArgs),
    Port(port::PortArgs),
    /// Remove all stopped containers
    Prune(prune::ContainerPruneArgs),
    Rename(rename::RenameArgs),
    /// Restart one or more containers
    Restart(stop::StopArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
    Run(Box<run::RunArgs>),
    Start(start::StartArgs),
    Stats(stats::StatsArgs),
    Stop(stop::StopArgs),
    Top(top::TopArgs),
    /// Unpause all processes within one or more containers
    Unpause(pause::PauseArgs),
    Wait(wait::WaitArgs),
}

/// `mica system`.
#[derive(Subcommand, Debug)]
pub(crate) enum SystemCommand {
    /// Check blobs, layers and names of the store
    Check(check::CheckArgs),
    /// Show disk usage
    Df(df::DfArgs),
    /// Display what the host allows, and what is in the store
    Info(info::InfoArgs),
    /// Remove stopped containers, unused images and build cache
    Prune(prune::SystemPruneArgs),
}

impl BuilderCommand {
    /// Runs the command.
    pub(super) fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::History(command) => builds::run_command(command, session),
            Self::Build(args) => build::run(args, session),
            Self::Du(args) => builder_du::run(args, session),
            Self::Prune(args) => builder_prune::run(args, session),
        }
    }
}

impl ImageCommand {
    /// Runs the command.
    pub(super) fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::Build(args) => build::run(args, session),
            Self::History(args) => history::run(args, session),
            Self::Import(args) => import::run(args, session),
            Self::Inspect(args) => inspect::run(args, Some(Kind::Image), session),
            Self::Load(args) => load::run(args, session),
            Self::Ls(args) => images::run(args, session),
            Self::Mount(args) => image_mount::mount(args, session),
            Self::Prune(args) => prune::images(args, session),
            Self::Pull(args) => pull::run(args, session),
            Self::Push(args) => push::run(args, session),
            Self::Rm(args) => rmi::run(args, session),
            Self::Save(args) => save::run(args, session),
            Self::Tag(args) => tag::run(args, session),
            Self::Unmount(args) => image_mount::unmount(args, session),
            Self::Unpack(args) => unpack::run(args, session),
        }
    }
}

impl ContainerCommand {
    /// Runs the command.
    pub(super) fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::Attach(args) => attach::run(args, session),
            Self::Commit(args) => commit::run(args, session),
            Self::Cp(args) => cp::run(args, session),
            Self::Create(args) => create::run(args, session),
            Self::Diff(args) => diff::run(args, session),
            Self::Exec(args) => exec::run(args, session),
            Self::Export(args) => export::run(args, session),
            Self::Inspect(args) => inspect::run(args, Some(Kind::Container), session),
            Self::Kill(args) => stop::kill(args, session),
            Self::Logs(args) => logs::run(args, session),
            Self::Ls(args) => ps::run(args, session),
            Self::Pause(args) => pause::pause(args, session),
            Self::Port(args) => port::run(args, session),
            Self::Prune(args) => prune::containers(args, session),
            Self::Rename(args) => rename::run(args, session),
            Self::Restart(args) => stop::restart(args, session),
            Self::Rm(args) => rm::run(args, session),
            Self::Run(args) => run::run(args, session),
            Self::Start(args) => start::run(args, session),
            Self::Stats(args) => stats::run(args, session),
            Self::Stop(args) => stop::stop(args, session),
            Self::Top(args) => top::run(args, session),
            Self::Unpause(args) => pause::unpause(args, session),
            Self::Wait(args) => wait::run(args, session),
        }
    }
}

impl SystemCommand {
    /// Runs the command.
    pub(super) fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::Check(args) => check::run(args, session),
            Self::Df(args) => df::run(args, session),
            Self::Info(args) => info::run(args, session),
            Self::Prune(args) => prune::system(args, session),
        }
    }
}
