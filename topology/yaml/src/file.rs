//! A topology file: read, checked, and made a topology of.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use egret::{Guarantee, Topology, TopologyBuilder};

use crate::check::check;
use crate::fault::{Fault, WiringError};
use crate::node::{At, Said};
use crate::read::{BYTES_MAX, read, too_large};
use crate::registry::Registry;
use crate::spec::{Spec, spec};
use crate::substitute::{Properties, substitute};
use crate::wire::wire;

/// A topology as a file says it. See the [crate](crate) for what stands in one.
#[derive(Debug, Clone)]
pub struct TopologyFile {
    file: String,
    spec: Spec,
    /// What is wrong with what it says by itself.
    faults: Vec<Fault>,
}

impl TopologyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no YAML, or is no map.
    pub fn read(path: &Path, properties: &Properties) -> Result<TopologyFile, WiringError> {
        let unread = |why| WiringError::Unread { file: path.to_owned(), why };
        let file = path.display().to_string();
        // A device or a pipe has no length that says how much comes of it.
        let mut bytes = Vec::new();
        let opened = fs::File::open(path).map_err(unread)?;
        opened.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() > BYTES_MAX {
            return Err(WiringError::of(&file, vec![too_large()]));
        }
        match String::from_utf8(bytes) {
            Ok(text) => TopologyFile::parse(&file, &text, properties),
            Err(error) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let before = String::from_utf8_lossy(before);
                let line = before.matches('\n').count() + 1;
                let last = before.rsplit('\n').next().unwrap_or_default();
                let at = At { line, column: last.chars().count() + 1 };
                let message = "this is not UTF-8: write the file as text";
                Err(WiringError::of(&file, vec![Fault::new(at, message)]))
            }
        }
    }

    /// Reads the text of a file, which is called `file` where it is spoken of.
    ///
    /// # Errors
    /// When it is no YAML, or no map.
    pub fn parse(
        file: &str,
        text: &str,
        properties: &Properties,
    ) -> Result<TopologyFile, WiringError> {
        let wrong = |fault| WiringError::of(file, vec![fault]);
        let mut root = read(text).map_err(wrong)?;
        let mut faults = Vec::new();
        substitute(&mut root, properties, &mut faults);
        let spec = spec(&root, &mut faults);
        if root.entries().is_none() {
            return Err(WiringError::of(file, faults));
        }
        Ok(TopologyFile { file: file.to_owned(), spec, faults })
    }

    /// What it calls the topology; empty where it does not say, which is one of the errors of
    /// [`topology`](Self::topology).
    pub fn name(&self) -> &str {
        self.spec.name.as_ref().map_or("", |name| &name.text)
    }

    /// What it says the topology promises.
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.spec.config.guarantee
    }

    /// The program that has its components, if it says which: seen from the file's directory.
    pub fn program(&self) -> Option<PathBuf> {
        let program = self.spec.program.as_ref()?;
        let dir = Path::new(&self.file).parent().unwrap_or(Path::new(""));
        Some(dir.join(&program.text))
    }

    /// Types of components that are not registered, with the line and column of each.
    pub fn unknown_types(&self, registry: &Registry) -> Vec<(String, usize, usize)> {
        let unknown = self.spec.components.iter().filter_map(|component| {
            let Said { at, text } = component.of.as_ref()?;
            let is_there = registry.entries.contains_key(&(component.role, text.clone()));
            (!is_there).then(|| (text.clone(), at.line, at.column))
        });
        unknown.collect()
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Wires what the file says into a topology that is built.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line and column.
    pub fn wire(&self, registry: &Registry, t: &mut TopologyBuilder) -> Result<(), WiringError> {
        if !registry.faults.is_empty() {
            return Err(WiringError::Registry { faults: registry.faults.clone() });
        }
        let mut faults = self.faults.clone();
        let checked = check(&self.spec, registry, &mut faults);
        if let Some(key_groups) = self.spec.config.key_groups {
            t.key_groups(key_groups);
        }
        let refused = wire(checked, registry, t);
        // Of a component of which something was said already, the builder says no more than that.
        let is_new =
            |id: &str| !faults.iter().any(|fault| fault.message.contains(&format!("`{id}`")));
        let new: Vec<_> = refused.into_iter().filter(|(id, _)| is_new(id)).collect();
        faults.extend(new.into_iter().map(|(_, fault)| fault));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(WiringError::of(&self.file, faults)),
        }
    }

    /// The topology that the file says, under its own name and guarantee.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line and column.
    pub fn topology(&self, registry: &Registry) -> Result<Topology, WiringError> {
        self.topology_as(registry, None, None)
    }

    /// The same under another name, or with another guarantee.
    ///
    /// # Errors
    /// As [`topology`](Self::topology).
    pub fn topology_as(
        &self,
        registry: &Registry,
        name: Option<&str>,
        guarantee: Option<Guarantee>,
    ) -> Result<Topology, WiringError> {
        let mut t = TopologyBuilder::new(name.unwrap_or(self.name()));
        t.guarantee(guarantee.or(self.guarantee()).unwrap_or(Guarantee::EffectivelyOnce));
        self.wire(registry, &mut t)?;
        t.finish().map_err(|error| {
            let text = error.to_string();
            let fault = Fault::new(self.place_of(&text), text);
            WiringError::of(&self.file, vec![fault])
        })
    }

    /// Where the component stands that is named first.
    fn place_of(&self, text: &str) -> At {
        let named = self.spec.components.iter().filter_map(|component| {
            let id = &component.id;
            Some((text.find(&format!("`{}`", id.text))?, id.at))
        });
        let name = self.spec.name.as_ref().map(|name| name.at);
        named.min().map(|(_, at)| at).or(name).unwrap_or(At::START)
    }
}
