//! The command tree: docker's verbs.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::artifact::ArtifactCommand;
use super::groups::{BuilderCommand, ContainerCommand, ImageCommand, SystemCommand};
use super::manifest::ManifestCommand;
use super::volume::VolumeCommand;
use super::{
    artifact, attach, build, builds, cat, commit, completion, copy, cp, create, diff, du, exec,
    explore, export, extract, file_history, find, history, images, import, info, inspect, layers,
    load, login, logout, logs, ls, manifest, pause, port, ps, pull, push, rename, report, rm, rmi,
    run, save, sbom, search, secrets, serve, shell, start, stats, stop, sync, tag, tags, top,
    version, volume, wait, waste, why,
};
use crate::failure::Outcome;
use crate::session::Session;

/// Build, store, inspect, run and ship container images
#[derive(Parser, Debug)]
#[command(
    name = "mica",
    version,
    disable_version_flag = true,
    subcommand_required = true
)]
pub(crate) struct Arguments {
    /// Where images and containers are kept
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub(crate) root: Option<PathBuf>,
    /// Where state that ends with a boot is kept
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub(crate) runroot: Option<PathBuf>,
    /// Print version information and quit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Create and run a new container from an image
    Run(Box<run::RunArgs>),
    /// Execute a command in a running container
    Exec(exec::ExecArgs),
    /// List containers
    Ps(ps::PsArgs),
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Download an image from a registry
    Pull(pull::PullArgs),
    /// Upload an image to a registry
    Push(push::PushArgs),
    /// List images
    Images(images::ImagesArgs),
    /// Authenticate to a registry
    Login(login::LoginArgs),
    /// Log out from a registry
    Logout(logout::LogoutArgs),
    /// Search Docker Hub, or another registry, for images
    Search(search::SearchArgs),
    /// Show the version information
    Version(version::VersionArgs),
    /// Display what the host allows, and what is in the store
    Info(info::InfoArgs),
    /// Manage files in registries
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// Manage builds
    #[command(subcommand, visible_alias = "buildx")]
    Builder(Box<BuilderCommand>),
    /// List past builds, their logs and traces
    Builds(builds::BuildsArgs),
    Why(why::WhyArgs),
    Shell(shell::ShellArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(Box<ContainerCommand>),
    /// Manage images
    #[command(subcommand)]
    Image(Box<ImageCommand>),
    /// Manage Docker image manifests and manifest lists
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Manage mica
    #[command(subcommand)]
    System(SystemCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Attach local standard input, output, and error streams to a running container
    Attach(attach::AttachArgs),
    /// Write files of an image to standard output
    Cat(cat::CatArgs),
    /// Create a new image from a container's changes
    Commit(commit::CommitArgs),
    /// Generate the autocompletion script for the specified shell
    Completion(completion::CompletionArgs),
    Copy(copy::CopyArgs),
    /// Copy files/folders from a container to the local filesystem
    Cp(cp::CpArgs),
    /// Create a new container
    Create(Box<create::CreateArgs>),
    /// Inspect changes to files or directories on a container's filesystem, or compare two images
    Diff(diff::DiffArgs),
    /// Show how much space the files of an image take
    Du(du::DuArgs),
    /// Explore an image in the terminal
    Explore(explore::ExploreArgs),
    /// Export a container's filesystem as a tar archive
    Export(export::ExportArgs),
    /// Copy files or directories of an image to the local filesystem
    Extract(extract::ExtractArgs),
    /// Show each layer that touched a file of an image
    FileHistory(file_history::FileHistoryArgs),
    /// Find files of an image
    Find(Box<find::FindArgs>),
    /// Show the history of an image
    History(history::HistoryArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs),
    /// Return low-level information on images, containers and volumes
    Inspect(inspect::InspectArgs),
    /// Kill one or more running containers
    Kill(stop::KillArgs),
    /// Show the layers of an image
    Layers(layers::LayersArgs),
    /// Load an image from a tar archive or STDIN
    Load(load::LoadArgs),
    /// Fetch the logs of a container
    Logs(logs::LogsArgs),
    /// List files of an image
    Ls(ls::LsArgs),
    /// Pause all processes within one or more containers
    Pause(pause::PauseArgs),
    /// List port mappings or a specific mapping for the container
    Port(port::PortArgs),
    /// Rename a container
    Rename(rename::RenameArgs),
    /// Write a page about an image
    Report(report::ReportArgs),
    /// Restart one or more containers
    Restart(stop::StopArgs),
    /// Remove one or more containers
    Rm(rm::RmArgs),
    /// Remove one or more images
    Rmi(rmi::RmiArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::SaveArgs),
    /// List the packages of an image as a bill of materials
    Sbom(sbom::SbomArgs),
    /// Look for secrets in an image
    Secrets(secrets::SecretsArgs),
    /// Serve the store as a registry, or a mirror of another registry
    Serve(serve::ServeArgs),
    /// Start one or more stopped containers
    Start(start::StartArgs),
    /// Display resource usage statistics of containers
    Stats(stats::StatsArgs),
    /// Stop one or more running containers
    Stop(stop::StopArgs),
    Sync(sync::SyncArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::TagArgs),
    /// List the tags of a repository in a registry
    Tags(tags::TagsArgs),
    /// Display the running processes of a container
    Top(top::TopArgs),
    /// Unpause all processes within one or more containers
    Unpause(pause::PauseArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(wait::WaitArgs),
    /// Show what of an image could be left out
    Waste(waste::WasteArgs),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::Run(args) => run::run(args, session),
            Self::Exec(args) => exec::run(args, session),
            Self::Ps(args) => ps::run(args, session),
            Self::Build(args) => build::run(args, session),
            Self::Pull(args) => pull::run(args, session),
            Self::Push(args) => push::run(args, session),
            Self::Images(args) => images::run(args, session),
            Self::Login(args) => login::run(args, session),
            Self::Logout(args) => logout::run(args, session),
            Self::Search(args) => search::run(args, session),
            Self::Version(args) => version::run(args, session),
            Self::Info(args) => info::run(args, session),
            Self::Artifact(command) => artifact::run(command, session),
            Self::Builder(command) => command.run(session),
            Self::Builds(args) => builds::run(args, session),
            Self::Why(args) => why::run(args, session),
            Self::Shell(args) => shell::run(args, session),
            Self::Container(command) => command.run(session),
            Self::Image(command) => command.run(session),
            Self::Manifest(command) => manifest::run(command, session),
            Self::System(command) => command.run(session),
            Self::Volume(command) => volume::run(command, session),
            Self::Attach(args) => attach::run(args, session),
            Self::Cat(args) => cat::run(args, session),
            Self::Commit(args) => commit::run(args, session),
            Self::Completion(args) => completion::run(args, session),
            Self::Copy(args) => copy::run(args, session),
            Self::Cp(args) => cp::run(args, session),
            Self::Create(args) => create::run(args, session),
            Self::Diff(args) => diff::run(args, session),
            Self::Du(args) => du::run(args, session),
            Self::Explore(args) => explore::run(args, session),
            Self::Export(args) => export::run(args, session),
            Self::Extract(args) => extract::run(args, session),
            Self::FileHistory(args) => file_history::run(args, session),
            Self::Find(args) => find::run(args, session),
            Self::History(args) => history::run(args, session),
            Self::Import(args) => import::run(args, session),
            Self::Inspect(args) => inspect::run(args, None, session),
            Self::Kill(args) => stop::kill(args, session),
            Self::Layers(args) => layers::run(args, session),
            Self::Load(args) => load::run(args, session),
            Self::Logs(args) => logs::run(args, session),
            Self::Ls(args) => ls::run(args, session),
            Self::Pause(args) => pause::pause(args, session),
            Self::Port(args) => port::run(args, session),
            Self::Rename(args) => rename::run(args, session),
            Self::Report(args) => report::run(args, session),
            Self::Restart(args) => stop::restart(args, session),
            Self::Rm(args) => rm::run(args, session),
            Self::Rmi(args) => rmi::run(args, session),
            Self::Save(args) => save::run(args, session),
            Self::Sbom(args) => sbom::run(args, session),
            Self::Secrets(args) => secrets::run(args, session),
            Self::Serve(args) => serve::run(args, session),
            Self::Start(args) => start::run(args, session),
            Self::Stats(args) => stats::run(args, session),
            Self::Stop(args) => stop::stop(args, session),
            Self::Sync(args) => sync::run(args, session),
            Self::Tag(args) => tag::run(args, session),
            Self::Tags(args) => tags::run(args, session),
            Self::Top(args) => top::run(args, session),
            Self::Unpause(args) => pause::unpause(args, session),
            Self::Wait(args) => wait::run(args, session),
            Self::Waste(args) => waste::run(args, session),
        }
    }
}
