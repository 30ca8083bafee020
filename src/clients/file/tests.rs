//! Replacing files, on a real file system.

use std::os::unix::fs::symlink;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn mode_byte_order_mark_and_symbolic_links_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
    fs::write(&path, "\u{feff}{}").unwrap();
    set_mode(&path, 0o640);
    symlink("real.json", &link).unwrap();
    let file = ClientFile::read(&link).unwrap();
    assert_eq!(file.text().unwrap(), "{}");
    file.check_writable().unwrap();
    file.replace("{1}").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "\u{feff}{1}");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(dir.path()), ["link.json", "real.json"]);
}

#[test]
fn a_file_that_somebody_else_has_changed_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "old").unwrap();
    let file = ClientFile::read(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(file.replace("ours"), Err(FileError::Changed)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    fs::remove_file(&path).unwrap();
    assert!(matches!(file.replace("ours"), Err(FileError::Changed)));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_change_at_the_very_last_moment_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "old").unwrap();
    let file = ClientFile::read(&path).unwrap();
    // As if it changed between the last look and the exchange.
    let new = dir.path().join("new");
    fs::write(&new, "ours").unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(matches!(file.put(&new), Err(FileError::Changed)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
}

#[test]
fn a_read_only_file_a_hard_link_and_other_encodings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, b"{\n\xff\xfe}").unwrap();
    let file = ClientFile::read(&path).unwrap();
    assert!(matches!(file.text(), Err(FileError::NotUtf8(2))));
    set_mode(&path, 0o444);
    let file = ClientFile::read(&path).unwrap();
    assert!(matches!(file.check_writable(), Err(FileError::ReadOnly(_))));
    set_mode(&path, 0o644);
    fs::hard_link(&path, dir.path().join("b.json")).unwrap();
    let file = ClientFile::read(&path).unwrap();
    assert!(matches!(file.check_writable(), Err(FileError::Linked)));
    let gone = ClientFile::read(&dir.path().join("gone.json"));
    assert!(matches!(gone, Err(FileError::Missing)));
}

#[test]
fn what_a_killed_run_left_beside_the_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "old").unwrap();
    fs::write(dir.path().join(".a.json.approval-proxy-00ff.tmp"), "x").unwrap();
    fs::write(dir.path().join(".a.json.tmp"), "not ours").unwrap();
    ClientFile::read(&path).unwrap().replace("new").unwrap();
    assert_eq!(names(dir.path()), [".a.json.tmp", "a.json"]);
}

#[test]
fn what_is_no_file_is_called_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ClientFile::read(dir.path());
    assert!(matches!(folder, Err(FileError::NotAFile("a folder"))));
    let pipe = dir.path().join("pipe.json");
    rustix::fs::mknodat(
        CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let pipe = ClientFile::read(&pipe);
    assert!(matches!(
        pipe,
        Err(FileError::NotAFile("not a regular file"))
    ));
    symlink("gone.json", dir.path().join("link.json")).unwrap();
    let link = ClientFile::read(&dir.path().join("link.json"));
    assert!(matches!(link, Err(FileError::Dangling)));
}
