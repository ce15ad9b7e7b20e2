//! What commands share, made when they ask for it.

use mica_container::Containers;
use mica_registry_client::Registry;
use mica_store::{LayerStorage, Store, StoreOptions};
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
    /// Opens the store.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let settings = Settings::of_file(self.environment)?;
        Ok(Store::open_with(
            &self.directories.root,
            StoreOptions {
                limits: settings.layer_limits(),
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
        let settings = Settings::read(self.environment)?;
        let printer = self.printer;
        let config =
            settings.registry_config(self.environment, move |text| printer.warning(text))?;
        Ok(Registry::new(config)?)
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
