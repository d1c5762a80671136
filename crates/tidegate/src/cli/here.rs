//! What only this machine can tell of a configuration: whether folders of sockets and logs and programs are there, and who
//! users and groups are. `run` needs them; but a configuration may be checked on another machine, so that they are warnings.

use std::path::Path;

use model::{Config, Finding};

/// What would keep `run` from serving it here, or be told later.
pub(super) fn oddities(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for listener in &config.listeners {
        let owner = format!("listeners/{}", listener.name);
        if let Some(wrong) = folder_of_socket(&listener.address) {
            found.push(Finding::new(&owner, "address", wrong));
        }
        let names = listener.socket_file.iter().flat_map(proxy::unknown_names);
        found.extend(names.map(|(key, wrong)| {
            Finding::new(&owner, format!("socketFile.{key}"), format!("{wrong}: `run` ends with that here"))
        }));
    }
    if let Some(admin) = &config.admin
        && let Some(wrong) = folder_of_socket(&admin.address)
    {
        found.push(Finding::new("", "admin.address", wrong));
    }
    for (index, log) in config.access_log.iter().enumerate() {
        if let Some(wrong) = log.path.as_ref().and_then(|path| missing_folder(path.as_path())) {
            found.push(Finding::new("", format!("accessLog[{index}].path"), wrong));
        }
    }
    for (index, authority) in config.acme.iter().enumerate() {
        let program = authority.dns.as_ref().and_then(|dns| dns.command.first());
        if let Some(program) = program.filter(|program| !Path::new(program).is_file()) {
            let wrong = format!("there is no program `{program}` here: no record could be set");
            found.push(Finding::new("", format!("acme[{index}].dns.command"), wrong));
        }
    }
    found
}

fn folder_of_socket(address: &str) -> Option<String> {
    missing_folder(Path::new(address.strip_prefix("unix:")?))
}

/// Says of a file that the folder is not there in which it is to be made.
fn missing_folder(file: &Path) -> Option<String> {
    // A name alone is in the folder that this was started in.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    (!folder.is_dir()).then(|| {
        format!("there is no folder `{}` here: `run` ends with that, and makes none", folder.display())
    })
}
