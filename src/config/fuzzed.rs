//! What a fuzzer tries on the configuration: region files, and single values as they stand in the environment.

use std::path::Path;

use figment::Figment;

use super::inspect::Inspection;
use super::layer::Layer;
use super::origin::Origin;
use super::regions::region_of;
use super::schema::CONFIG;

/// A region file; or, behind a byte 0, a key, a line's end and a value.
pub(crate) fn region_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((key, value)) = text.strip_prefix('\0').and_then(|text| text.split_once('\n')) {
        let figment = Figment::from(Layer::of_text(Origin::BuiltIn, key, value));
        if let Ok(values) = figment.find_value("") {
            let problems = Inspection::run(&figment, &CONFIG, &values, &Origin::BuiltIn);
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        return;
    }
    let file = Path::new("region.toml");
    match Layer::of_file_text(file, &text).map_err(Into::into).and_then(|layer| region_of(file, layer)) {
        Ok(region) => {
            let written = toml::to_string(&region).unwrap_or_default();
            let again =
                Layer::of_file_text(file, &written).map_err(Into::into).and_then(|layer| region_of(file, layer));
            assert_eq!(again.ok(), Some(region), "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(crate) fn region_files_seeds() -> Vec<Vec<u8>> {
    let files = [include_str!("../../regions/us-east.toml"), include_str!("../../regions/eu-west.toml")];
    let values =
        ["\0namespace.orders.regions\n[eu-west, ap-south]", "\0commit.bytes_max\n1MiB", "\0quic.listen\n[::]:7400"];
    files.into_iter().chain(values).map(|text| text.as_bytes().to_vec()).collect()
}
