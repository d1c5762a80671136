//! Users and groups by their names, as the files of the system list them. Directories of other kinds (LDAP and the
//! like) are not asked: a number does for what is there alone.

use std::{io, path::Path};

/// The number of a user or group: a number as it is, a name as `list` (`/etc/passwd`, `/etc/group`) has it.
pub(super) fn id(name: &str, list: &Path) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    find(name, &std::fs::read_to_string(list)?).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no `{name}` in {}", list.display()))
    })
}

/// Both files have the name first and the number third.
fn find(name: &str, list: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole_and_numbers_are_taken_as_they_are() {
        let list =
            "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:\n# w:x:1\nbroken\nodd:x:y:\n";
        for (name, number) in [
            ("root", Some(0)),
            ("www-data", Some(33)),
            ("www", None),
            ("odd", None),
            ("broken", None),
            ("", None),
        ] {
            assert_eq!(find(name, list), number, "{name}");
        }
        assert_eq!(id("4711", Path::new("/none")).ok(), Some(4711));
    }
}
