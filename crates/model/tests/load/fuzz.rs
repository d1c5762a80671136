//! Configurations and small values of any bytes: what the fuzz targets run, and a short run of each.

use std::{fmt::Display, str::FromStr};

use model::{
    Cidr, Duration, EndpointAddress, Percent, Size, Source, resource::path_template::PathTemplate,
    types::Date,
};

use crate::support::{Memory, load};

/// Loads one document, or two that are joined where a line says `%%`; findings are rendered, and each lies within
/// its source.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let sources: Vec<Source> = text
        .split("\n%%\n")
        .take(2)
        .enumerate()
        .map(|(index, text)| Source::new(format!("conf/{index}.yaml"), text))
        .collect();
    match model::load(&sources, &Memory) {
        Ok(snapshot) => {
            let _ = (snapshot.warnings.render(true), snapshot.referenced_files());
            assert!(!snapshot.warnings.has_errors());
        }
        Err(found) => {
            assert!(found.has_errors(), "refused without a reason");
            let _ = (found.render(false), found.render(true), found.to_string());
            for finding in found.iter() {
                let Some(place) = finding.place else { continue };
                let source = &sources[place.source as usize].text;
                assert!(place.start <= place.end && place.end as usize <= source.len(), "{finding:?}");
                let whole = |at: u32| source.is_char_boundary(at as usize);
                assert!(whole(place.start) && whole(place.end), "{finding:?}");
            }
        }
    }
}

/// The layout that `fmt` gives is normal at once, and means the same to whoever loads it.
pub fn layout(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(tidy) = model::fmt(&text) else { return };
    assert_eq!(model::fmt(&tidy).as_ref(), Ok(&tidy), "tidy once is tidy for ever");
    if let (Ok(before), Ok(after)) = (load(&text), load(&tidy)) {
        assert_eq!(before.revision, after.revision);
    }
}

/// Durations, sizes, networks, dates, addresses, shares and path templates: what is read is written so that it reads
/// the same again.
pub fn values(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in text.lines() {
        stays::<Duration>(text);
        stays::<Size>(text);
        stays::<Cidr>(text);
        stays::<Date>(text);
        stays::<EndpointAddress>(text);
        stays::<Percent>(text);
        if let Ok(template) = text.parse::<PathTemplate>() {
            let names: Vec<&str> = template.captures().collect();
            assert!(names.iter().all(|name| text.contains(name)), "{text}");
        }
    }
}

fn stays<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    match written.parse::<T>() {
        Ok(again) => assert_eq!(again, value, "`{text}` is written `{written}`"),
        Err(_) => panic!("`{text}` is written `{written}`, which does not read"),
    }
}

#[cfg(test)]
mod short {
    macro_rules! short {
        ($($name:ident),+) => { $(
            #[test]
            fn $name() {
                mutate::fuzz(stringify!($name), super::$name);
            }
        )+ };
    }
    short!(config, layout, values);
}
