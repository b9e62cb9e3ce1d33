use super::*;
use crate::model::Feature;
use crate::model::Normalisation;
use crate::train::initialisation::initial_weights;

fn table(text: &str) -> Table {
    text.parse().expect("TOML")
}

/// Settings from options only.
fn flags(text: &str) -> Result<TrainSettings> {
    let files = "train = [\"t.hdf5\"]\nvalidation = [\"v.hdf5\"]\n";
    TrainSettings::resolve(&Given { flags: table(&format!("{files}{text}")), ..Given::default() })
}

fn message(result: Result<TrainSettings>) -> String {
    result.expect_err("to be refused").to_string()
}

#[test]
fn published_recipes() {
    let global = flags("").expect("the defaults");
    assert_eq!((global.epochs, global.batch, global.learning_rate, global.label_smoothing), (150, 8, 5e-4, 0.1));
    assert_eq!(
        (global.model.tile, &global.model.location, global.unlabelled),
        (384, &Location::None, Unlabelled::Ignore)
    );
    assert_eq!((&global.schedule, &global.augmentation), (&Schedule::default(), &Augmentation::default()));
    assert_eq!(global.model, ModelConfig::default());
    let regions = flags("strategy = \"region-encoding\"").expect("valid");
    assert_eq!(regions.model.location, Location::published_regions());
    let given = flags("strategy = \"region-encoding\"\nregions = [\"b\", \"a\"]").expect("valid");
    assert_eq!(given.model.location, Location::Regions(["a", "b", "unknown"].map(String::from).to_vec()));
    let coordinates = flags("strategy = \"coordinate-encoding\"").expect("valid");
    assert_eq!(coordinates.model.location, Location::Coordinates);
}

#[test]
fn finetuning_takes_the_model_it_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.safetensors");
    let config = ModelConfig {
        features: vec![Feature::Dem],
        location: Location::Coordinates,
        filters: 4,
        embedding: 8,
        mlp: 16,
        blocks: 1,
        heads: 2,
        tile: 32,
        ..ModelConfig::default()
    };
    initial_weights(&config, Normalisation::default(), 1).and_then(|w| w.save(&path)).expect("written");
    let from = format!("strategy = \"finetuning\"\nfrom = {:?}\n", path.display().to_string());
    let settings = flags(&from).expect("valid");
    assert_eq!(settings.model, config);
    assert_eq!((settings.epochs, settings.learning_rate, settings.schedule.kind), (80, 5e-5, ScheduleKind::Cosine));
    assert_eq!(settings.schedule.decay, 80.0);
    assert_eq!(flags(&format!("{from}epochs = 5")).expect("valid").schedule.decay, 5.0);
    let text = message(flags(&format!("{from}[model]\ntile = 64")));
    assert!(text.contains("model.tile = 64") && text.contains("32, as in"), "{text}");
    assert!(message(flags("strategy = \"finetuning\"")).contains("--from"));
}

#[test]
fn files_and_flags_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    let text = "train = [\"t\"]\nvalidation = [\"v\"]\nbatch = 4\nepochs = 7\n[model]\nfilters = 8\n[augmentation]\ncrop = 0.25\n";
    std::fs::write(&path, text).expect("written");
    let given =
        Given { size: Some(ModelSize::Tiny), file: Some(path.clone()), flags: table("batch = 2\n[model]\ntile = 64") };
    let settings = TrainSettings::resolve(&given).expect("valid");
    assert_eq!((settings.batch, settings.epochs), (2, 7));
    let model = &settings.model;
    assert_eq!((model.filters, model.embedding, model.tile), (8, 8, 64));
    assert_eq!((settings.augmentation.crop, settings.augmentation.gamma), (0.25, 0.5));
    assert!(settings.train[0].is_absolute());

    for (text, part) in
        [("epoch = 3", "unknown field `epoch`"), ("batch = \"x\"", "invalid type"), ("batch = = 3", "no TOML")]
    {
        std::fs::write(&path, text).expect("written");
        let given = Given { file: Some(path.clone()), flags: given.flags.clone(), size: None };
        let text = message(TrainSettings::resolve(&given));
        assert!(text.contains("c.toml") && text.contains(part) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn settings_round_trip() {
    for strategy in [Strategy::Global, Strategy::RegionEncoding, Strategy::CoordinateEncoding, Strategy::Finetuning] {
        let mut settings = TrainSettings::published(strategy);
        settings.from = Some("a \"b\".safetensors".into());
        settings.learning_rate = 0.1 + 0.2;
        let text = settings.to_toml().expect("written");
        assert_eq!(toml::from_str::<TrainSettings>(&text).expect("read"), settings, "{text}");
    }
    let seed = TrainSettings { seed: u64::MAX, ..flags("").expect("valid") };
    assert!(seed.validate().is_err());
}

#[test]
fn impossible_settings() {
    for (text, part) in [
        ("strategy = \"local\"", "local"),
        ("strategy = \"regional\"", "--regions"),
        ("batch = 0", "batch = 0"),
        ("batch = -1", "-1"),
        ("learning_rate = nan", "learning_rate"),
        ("learning_rate = 0.0", "above 0"),
        ("label_smoothing = 1.5", "label_smoothing"),
        ("[model]\ntile = 100", "tile 100"),
        ("[model]\nfeatures = [\"radar\"]", "radar"),
        ("[model]\nlocation = \"coordinates\"", "a network that takes a location"),
        ("strategy = \"region-encoding\"\n[model]\nlocation = \"none\"", "takes no region"),
        ("[schedule]\ngrowth = 0.1", "growth"),
        ("[augmentation]\ncrop = 2.0", "crop"),
        ("[augmentation]\ncropp = 2.0", "cropp"),
        ("[objective]\nfocal = 0.0", "no loss"),
        ("[adam]\nbeta1 = 1.0", "beta1"),
    ] {
        let text = message(flags(text));
        assert!(text.contains(part) && text.lines().count() == 1, "no '{part}' in: {text}");
    }
    assert!(message(TrainSettings::resolve(&Given::default())).contains("no --train"));
}

#[test]
fn a_run_continues_with_its_recipe_only() {
    let begun = flags("epochs = 5").expect("valid");
    let changed = |text: &str| flags(text).expect("valid").check_continues(&begun);
    changed("epochs = 9\ndevice = \"cpu\"\nworkers = 1\ncheckpoint_every = 3").expect("free settings");
    for (text, part) in [
        ("learning_rate = 0.1", "found learning_rate = 0.1, expected 0.0005"),
        ("[augmentation]\nnoise = 0.0", "found augmentation.noise = 0.0, expected 0.5"),
        ("seed = 3", "found seed = 3, expected 1"),
        ("strategy = \"coordinate-encoding\"", "model.location"),
        ("regions = [\"ALP\"]", "regions"),
    ] {
        let text = changed(text).expect_err("another recipe").to_string();
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
}

#[test]
fn every_shipped_recipe_without_a_region_or_a_sensor() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/generalisation");
    let mut left_out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the recipes") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let files = table("train = [\"t.hdf5\"]\nvalidation = [\"v.hdf5\"]\n");
        let settings =
            TrainSettings::resolve(&Given { file: Some(path), flags: files, ..Given::default() }).expect("a recipe");
        let selection = settings.selection();
        assert_eq!((&selection.regions, &selection.sensors), (&Vec::new(), &Vec::new()));
        assert_eq!(selection.exclude_regions.len() + selection.exclude_sensors.len(), 1);
        left_out.extend(selection.exclude_regions);
        // Nothing else differs from the published recipe.
        let plain = TrainSettings { exclude_regions: Vec::new(), exclude_sensors: Vec::new(), ..settings.clone() };
        assert_eq!(plain, flags("").expect("the defaults"));
    }
    left_out.sort();
    let Location::Regions(mut published) = Location::published_regions() else { unreachable!("regions") };
    published.retain(|region| region != "unknown");
    assert_eq!(left_out, published);
}

#[test]
fn a_run_that_was_begun_without_exclusions_goes_on() {
    let begun = flags("").expect("the defaults");
    let text = begun.to_toml().expect("TOML");
    assert!(!text.contains("exclude") && !text.contains("sensors"), "{text}");
    let without = flags("exclude_regions = [\"ALP\"]").expect("valid");
    assert!(without.check_continues(&begun).expect_err("another recipe").to_string().contains("exclude_regions"));
}
