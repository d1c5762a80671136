//! What descriptors say: services, methods and messages, from a descriptor set or from what a server tells of itself.

use std::{collections::HashSet, sync::Arc};

use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor, prost_types::MethodOptions};

/// Descriptors of `google/rpc/error_details.proto` and of what it imports: details of errors are told in words whether or
/// not the set has them.
const ERROR_DETAILS: &[u8] = include_bytes!("error_details.binpb");

/// Services and messages.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(crate) pool: DescriptorPool,
}

/// What a message is.
pub type Kind = MessageDescriptor;

/// A method of a service.
#[derive(Debug, Clone)]
pub struct Method {
    /// `package.Service/Method`.
    pub name: Arc<str>,
    /// The path of its calls: `/package.Service/Method`.
    pub path: String,
    /// What it takes.
    pub input: MessageDescriptor,
    /// What it gives.
    pub output: MessageDescriptor,
    /// Whether it takes many.
    pub takes_stream: bool,
    /// Whether it gives many.
    pub gives_stream: bool,
    /// It changes nothing (`idempotency_level = NO_SIDE_EFFECTS`).
    pub is_safe: bool,
    /// A second call does no harm (`NO_SIDE_EFFECTS` or `IDEMPOTENT`).
    pub is_idempotent: bool,
    pub(crate) descriptor: MethodDescriptor,
}

/// A file of a set, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileHead {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) dependency: Vec<String>,
}

/// A set whose files stay bytes, for options that are not known here must not be lost.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) file: Vec<bytes::Bytes>,
}

impl Schema {
    /// Reads a `FileDescriptorSet`. The error says what is wrong with it, and what to do about it.
    pub fn decode(set: &[u8]) -> Result<Self, String> {
        let files = FileSet::decode(set).map_err(|error| {
            format!("this is no descriptor set: {error}; make one with `protoc --include_imports --descriptor_set_out=…`")
        })?;
        if files.file.is_empty() {
            return Err("the descriptor set is empty; make one with `protoc --include_imports --descriptor_set_out=…`".to_owned());
        }
        Self::of_files(files.file)
    }

    /// Takes files as they are encoded, in any order; the first of each name counts.
    pub fn of_files(files: Vec<bytes::Bytes>) -> Result<Self, String> {
        let bundled = FileSet::decode(ERROR_DETAILS).map(|set| set.file).unwrap_or_default();
        let mut known = HashSet::new();
        let mut needed = Vec::new();
        let mut set = FileSet::default();
        let own = files.len();
        for (index, file) in files.into_iter().chain(bundled).enumerate() {
            let head = FileHead::decode(file.clone())
                .map_err(|error| format!("the descriptor of a file cannot be read: {error}"))?;
            if index < own {
                needed.extend(head.dependency.into_iter().map(|dependency| (head.name.clone(), dependency)));
            }
            if known.insert(head.name) {
                set.file.push(file);
            }
        }
        if let Some((by, lacking)) = needed.iter().find(|(_, dependency)| !known.contains(dependency)) {
            return Err(format!(
                "`{by}` imports `{lacking}`, which is not in the set; give `--include_imports` to protoc"
            ));
        }
        let set = set.encode_to_vec();
        // The library panics where it would say in which of these files something is wrong.
        let built = std::panic::catch_unwind(move || {
            let mut pool = DescriptorPool::new();
            pool.decode_file_descriptor_set(set.as_slice()).map(|()| pool)
        });
        match built {
            Ok(Ok(pool)) => Ok(Self { pool }),
            Ok(Err(error)) => Err(format!("the descriptors do not fit together: {error}")),
            Err(_) => Err("the descriptors do not fit together; make them anew with protoc".to_owned()),
        }
    }

    /// Names of all services, those of reflection left out.
    pub fn services(&self) -> Vec<String> {
        let names = self.pool.services().map(|service| service.full_name().to_owned());
        names.filter(|name| !name.starts_with("grpc.reflection.")).collect()
    }

    /// All methods of a service.
    pub fn methods(&self, service: &str) -> Result<Vec<Method>, String> {
        let found = self
            .pool
            .get_service_by_name(service)
            .ok_or_else(|| format!("there is no service `{service}`; there {}", list(&self.services())))?;
        Ok(found.methods().map(Method::of).collect())
    }

    /// A method by its name: `package.Service/Method`, or `package.Service.Method`.
    pub fn method(&self, name: &str) -> Result<Method, String> {
        let (service, method) = name
            .rsplit_once('/')
            .or_else(|| name.rsplit_once('.'))
            .ok_or_else(|| format!("expected `package.Service/Method`, found `{name}`"))?;
        let methods = self.methods(service)?;
        let names: Vec<String> = methods.iter().map(|one| one.descriptor.name().to_owned()).collect();
        methods
            .into_iter()
            .find(|one| one.descriptor.name() == method)
            .ok_or_else(|| format!("`{service}` has no method `{method}`; there {}", list(&names)))
    }

    /// The method that a gRPC path (`/package.Service/Method`) means.
    pub fn method_of_path(&self, path: &str) -> Option<Method> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.pool.get_service_by_name(service)?;
        service.methods().find(|one| one.name() == method).map(Method::of)
    }

    /// A message by its full name.
    pub fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }
}

/// Files that are known here, whatever a set has.
pub(crate) fn bundled_names() -> HashSet<String> {
    let set = FileSet::decode(ERROR_DETAILS).unwrap_or_default();
    set.file.into_iter().filter_map(|file| Some(FileHead::decode(file).ok()?.name)).collect()
}

fn list(names: &[String]) -> String {
    match names {
        [] => "is none at all".to_owned(),
        [one] => format!("is `{one}`"),
        many => format!("are `{}`", many.join("`, `")),
    }
}

impl Method {
    fn of(descriptor: MethodDescriptor) -> Self {
        let options: Option<MethodOptions> = descriptor.options().transcode_to().ok();
        let level = options.map_or(0, |options| options.idempotency_level.unwrap_or(0));
        let name = format!("{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        Self {
            path: format!("/{name}"),
            name: name.into(),
            input: descriptor.input(),
            output: descriptor.output(),
            takes_stream: descriptor.is_client_streaming(),
            gives_stream: descriptor.is_server_streaming(),
            is_safe: level == 1,
            is_idempotent: level == 1 || level == 2,
            descriptor,
        }
    }
}
