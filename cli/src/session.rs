//! What commands share, made when they ask for it.

use std::collections::BTreeSet;

use mica_container::Containers;
use mica_registry_client::{PlainHttp, Registry, RegistryConfig};
use mica_store::{LayerStorage, Store, StoreOptions, Transfers};
use tokio::runtime::Runtime;

use crate::config::{Directories, Environment, Settings};
use crate::failure::{CliError, Failure};
use crate::printer::Printer;

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// The terminal.
    pub(crate) printer: Printer,
    /// The environment.
    pub(crate) environment: Environment,
    /// Where the store and the run state are.
    pub(crate) directories: Directories,
}

impl Session {
    /// Returns how many blobs move at a time.
    pub(crate) fn transfers(&self) -> Result<Transfers, Failure> {
        Ok(Settings::of_file(self.environment)?.transfers())
    }

    /// Opens the store.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let settings = Settings::of_file(self.environment)?;
        Ok(Store::open_with(
            &self.directories.root,
            StoreOptions {
                limits: settings.layer_limits(),
                transfers: settings.transfers(),
                snapshotter: settings.snapshotter(self.environment)?,
                additional: settings.additional_stores,
                // Root alone can give files to others.
                layers: match rustix::process::geteuid().is_root() {
                    true => LayerStorage::Unpacked,
                    false => LayerStorage::Packed,
                },
            },
        )?)
    }

    /// Opens the containers of the store and the run state.
    pub(crate) fn containers(&self) -> Result<Containers, Failure> {
        self.containers_of(self.store()?)
    }

    /// Opens the containers of a store that is open.
    pub(crate) fn containers_of(&self, store: Store) -> Result<Containers, Failure> {
        Ok(Containers::open(store, &self.directories.runroot)?)
    }

    /// Sets up the client of registries; nothing is sent yet.
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        Ok(Registry::new(self.registry_config()?)?)
    }

    /// As [`registry`](Self::registry), for a command that allows hosts to be insecure.
    pub(crate) fn insecure_registry(
        &self,
        insecure: impl IntoIterator<Item: Into<String>>,
    ) -> Result<Registry, Failure> {
        let mut config = self.registry_config()?;
        let mut hosts = match config.plain_http {
            PlainHttp::LoopbackOnly => BTreeSet::new(),
            PlainHttp::Hosts(hosts) => hosts,
        };
        hosts.extend(insecure.into_iter().map(Into::into));
        config.plain_http = PlainHttp::Hosts(hosts);
        Ok(Registry::new(config)?)
    }

    fn registry_config(&self) -> Result<RegistryConfig, Failure> {
        let settings = Settings::read(self.environment)?;
        let printer = self.printer;
        let runroot = &self.directories.runroot;
        let warn = move |text: &str| printer.warning(text);
        Ok(settings.registry_config(self.environment, runroot, warn)?)
    }

    /// Starts the threads that transfers need.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let failed = |source| CliError::File {
            action: "start the threads of a transfer, with",
            path: "/proc/self".into(),
            source,
        };
        Ok(runtime.map_err(failed)?)
    }

    /// Runs a transfer to its end, on threads that only transfers need.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let runtime = self.runtime()?;
        let output = runtime.block_on(future);
        // A name look-up that hangs shall not keep the program.
        runtime.shutdown_background();
        Ok(output)
    }
}
