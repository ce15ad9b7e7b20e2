//! What a stage starts from: an image, another stage, a tree of files, or nothing.

use mica_dockerfile::{Instruction, Stage};
use mica_oci::{Platform, Reference};
use mica_store::{Image, Layer};

use crate::engine::StepLayer;
use crate::error::{BuildError, ErrorKind};
use crate::event::Outcome;
use crate::explain::Below;
use crate::key::CacheKey;
use crate::place::Place;
use crate::request::NamedContext;
use crate::seal::{BuiltLayer, HashingTime, Seal, Sealed};
use crate::stage::{StageBuild, makes_layer};
use crate::state::StageState;

impl StageBuild<'_, '_> {
    /// Makes the state that the stage starts from.
    pub(crate) fn base(&self) -> Result<StageState, ErrorKind> {
        let stage = self.source();
        let platform = self.platform(stage)?;
        let name = self.engine.globals.expand(&stage.base, self.escape())?;
        if name.is_empty() {
            return Err(ErrorKind::BlankBase(stage.base.clone()));
        }
        if let Some(index) = self.engine.base_stage(self.stage, &name) {
            let mut state = (*self.engine.wait(self.scope, index)?).clone();
            state.command_is_own = false;
            return Ok(state);
        }
        if let Some(source) = self.engine.open_named(&name)? {
            let title = format!("{} FROM {name}", self.prefix(1, 1 + self.own_layers(stage)));
            return self.files_state(&name, &source, &platform, title);
        }
        if name == "scratch" {
            return Ok(StageState::scratch(&platform));
        }
        self.image_base(&name, &platform)
    }

    fn image_base(&self, name: &str, platform: &Platform) -> Result<StageState, ErrorKind> {
        let stage = self.source();
        let total = 1 + self.own_layers(stage);
        let shown = self.shown_image(name);
        let title = format!("{} FROM {shown}", self.prefix(1, total));
        let step = self.engine.start_step(title);
        self.stand(1, total, Some(stage.span), &format!("FROM {name}"));
        self.current().step = Some(step);
        let state = self.timed(step, || {
            let image = self.image(name, platform)?;
            let mut state = self.image_state(&image)?;
            state.below = Below::Image(shown, image.target.digest.to_string());
            self.tell_site(step, &state, None);
            Ok((state, Outcome::Done))
        });
        self.current().step = None;
        let state = state?;
        self.engine.note_layer(StepLayer {
            step,
            below: None,
            built: state.layers.last().cloned(),
            hashing: HashingTime::default(),
        });
        Ok(state)
    }

    /// Tells whether the stage starts from an image.
    pub(crate) fn has_image_base(&self) -> Result<bool, BuildError> {
        let stage = self.source();
        let name = self.engine.globals.expand(&stage.base, self.escape());
        let name = name.map_err(|error| error.at(Some(stage.span)))?;
        Ok(name != "scratch" && self.engine.base_stage(self.stage, &name).is_none())
    }

    fn own_layers(&self, stage: &Stage) -> usize {
        stage
            .instructions
            .iter()
            .filter(|instruction| makes_layer(instruction))
            .count()
    }

    /// Finds an image by its name: a named context, the store, or a registry.
    pub(crate) fn image(&self, name: &str, platform: &Platform) -> Result<Image, ErrorKind> {
        let contexts = &self.engine.request.named_contexts;
        if let Some(NamedContext::Image(image)) = contexts.get(name) {
            return Ok((**image).clone());
        }
        let reference: Reference = name.parse().map_err(|source| ErrorKind::Reference {
            name: name.to_owned(),
            source,
        })?;
        let known = [
            reference.to_string(),
            reference.familiar(),
            reference.familiar_repository(),
        ];
        for known in &known {
            if let Some(NamedContext::Image(image)) = contexts.get(known) {
                return Ok((**image).clone());
            }
        }
        let find = |step| {
            let found = self.engine.host.image(step, &reference, platform);
            found.map_err(|source| ErrorKind::Base {
                reference: reference.familiar(),
                source,
            })
        };
        let current = self.current().step;
        match current {
            Some(step) => find(step),
            None => {
                let step = self.engine.start_step(format!("FROM {reference}"));
                self.timed(step, || Ok((find(step)?, Outcome::Done)))
            }
        }
    }

    fn image_state(&self, image: &Image) -> Result<StageState, ErrorKind> {
        let layers = self.image_layers(image)?;
        let config = image.config.value().clone();
        let key = match layers.last() {
            Some(top) => CacheKey::of("image").text("chain", top.seal.wait()?.chain.0.as_str()),
            None => CacheKey::of("scratch"),
        };
        Ok(StageState::new(config, layers, key.finish()))
    }

    /// Returns an image's layers, unpacked.
    pub(crate) fn image_layers(&self, image: &Image) -> Result<Vec<BuiltLayer>, ErrorKind> {
        let stack = self.engine.store.unpack(image)?;
        let config = image.config.value();
        let mut chain = None;
        let known = config
            .rootfs
            .diff_ids
            .iter()
            .zip(&image.manifest.value().layers);
        let seal = |(layer, (diff_id, descriptor)): (Layer, _)| {
            let id = mica_oci::ChainId::extend(chain.as_ref(), diff_id);
            chain = Some(id.clone());
            let descriptor: &mica_oci::Descriptor = descriptor;
            let sealed = Sealed {
                chain: id,
                diff_id: diff_id.clone(),
                descriptor: descriptor.clone(),
                created: None,
            };
            BuiltLayer {
                place: Place::here(layer),
                seal: Seal::ready(sealed),
            }
        };
        Ok(stack.layers.into_iter().zip(known).map(seal).collect())
    }

    /// Takes the base image's ONBUILD triggers: they run once, in the build that meets them.
    pub(crate) fn triggers(&self, state: &mut StageState) -> Result<Vec<Instruction>, ErrorKind> {
        let mut instructions = Vec::new();
        for trigger in std::mem::take(&mut state.config.config.on_build) {
            let text = format!("FROM scratch\n{trigger}\n");
            let parsed = mica_dockerfile::parse(&text).map_err(|errors| ErrorKind::Trigger {
                trigger: trigger.clone(),
                errors,
            })?;
            instructions.extend(
                parsed
                    .stages
                    .into_iter()
                    .flat_map(|stage| stage.instructions),
            );
        }
        Ok(instructions)
    }
}
