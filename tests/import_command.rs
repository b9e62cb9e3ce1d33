//! `glavitu import` and `glavitu info` as a user runs them.

use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Runs the program: exit code, standard output, standard error.
fn glavitu(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("glavitu")).args(args).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn import_and_info() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (keras, pickle) =
        (data("tiny_region.h5").display().to_string(), data("calibrator.pickle").display().to_string());

    let import = ["import", "keras", &keras, "--features", "optical,dem", "-o", &path("m.safetensors")];
    // The second time it overwrites.
    for _ in 0..2 {
        let (code, out, err) = glavitu(&import);
        assert!(code == 0 && out.contains("151516 parameters"), "{out}{err}");
    }
    let (code, out, _) = glavitu(&["info", &path("m.safetensors")]);
    assert!(code == 0 && out.contains("SVAL, unknown") && out.contains("150540"), "{out}");
    let (_, out, _) = glavitu(&["info", "--json", &path("m.safetensors")]);
    let info: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&info["kind"], &info["parameters"]), (&"model".into(), &151_516.into()));

    let (code, _, err) = glavitu(&["import", "calibration", &pickle, "-o", &path("c.json")]);
    assert_eq!((code, err.contains("WARN")), (0, true), "{err}");
    let (code, _, err) = glavitu(&["import", "calibration", &pickle, "--monotone", "-o", &path("n.json")]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, out, _) = glavitu(&["info", "--json", &path("n.json")]);
    let info: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&info["form"], &info["monotone"]), (&"table".into(), &true.into()));
}

#[test]
fn mistakes_give_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().expect("folder");
    let output = folder.path().join("m.safetensors").display().to_string();
    let missing = folder.path().join("none/m.safetensors").display().to_string();
    let (keras, text) =
        (data("tiny_global.h5").display().to_string(), data("make_calibrator.py").display().to_string());
    let pickle = data("calibrator.pickle").display().to_string();
    let cases: [(&[&str], &str); 7] = [
        (&["import", "keras", &keras, "--features", "dem", "-o", &output], "6, 2 channels"),
        (&["import", "keras", &text, "--features", "dem", "-o", &output], "a text file"),
        (&["import", "keras", &keras, "--features", "optical,dem", "-o", &missing], "no folder"),
        (&["import", "calibration", &text, "-o", &output], "a text file"),
        (&["info", &keras], "glavitu import keras"),
        (&["info", &pickle], "glavitu import calibration"),
        (&["info", &missing], "cannot read"),
    ];
    for (args, part) in cases {
        let (code, out, err) = glavitu(args);
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{args:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(part), "{err}");
    }
    assert!(!Path::new(&output).exists());
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let model = tempfile::tempdir().expect("folder");
    let path = model.path().join("c.json").display().to_string();
    let pickle = data("calibrator.pickle").display().to_string();
    let cases: [&[&str]; 4] = [
        &["import", "calibration", &pickle, "--monotone", "-o", &path],
        &["info", &path],
        &["devices"],
        &["completions", "bash"],
    ];
    for args in cases {
        // The reading end is closed before the program starts.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
            .args(args)
            .stdout(writer)
            .output()
            .expect("runs");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}
