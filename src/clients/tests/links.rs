//! Files behind symbolic links: whose they are, and where their ledger leads.

use std::os::unix::fs::symlink;

use super::*;

const ENTRY: &str = "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}";

impl Home {
    fn folder(&self) -> &Path {
        self.state_dir.parent().unwrap()
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn link(&self, to: &str, path: &str) -> PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, &path).unwrap();
        path
    }

    fn with_ledger(&self) -> Vec<PathBuf> {
        let folders = Folders::of(&self.environment);
        with_ledger(&self.state_dir, folders.as_ref())
    }
}

fn home() -> Home {
    Home::with(&cursor::CLIENT, ENTRY.as_bytes())
}

fn all() -> Choice {
    Choice::default()
}

#[test]
fn a_project_file_is_one_by_its_own_name_or_that_of_its_target() {
    let home = home();
    let target = home.write("work/shared/servers.json", ENTRY);
    let link = home.link("shared/servers.json", "work/.mcp.json");
    let plan = home.run_for(&link, Task::Wrap(None), &all());
    assert_eq!(
        (plan.client.name, plan.scope),
        ("claude-code", Scope::Project)
    );
    let text = fs::read_to_string(&target).unwrap();
    assert!(text.contains("\"command\": \"approval-proxy\""), "{text}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // It is the project's, so nobody restores it who does not name it.
    assert_eq!(home.with_ledger(), [""; 0].map(PathBuf::from));
    home.run_for(&link, Task::Unwrap, &all());
    assert_eq!(fs::read_to_string(&target).unwrap(), ENTRY);

    let real = home.write(
        "work/.vscode/mcp.json",
        "{\"servers\": {\"a\": {\"command\": \"x\"}}}",
    );
    let link = home.link(".vscode/mcp.json", "work/servers.json");
    let plan = home.run_for(&link, Task::Wrap(None), &all());
    assert_eq!((plan.client.name, plan.scope), ("vscode", Scope::Project));
    let text = fs::read_to_string(&real).unwrap();
    assert!(text.contains("\"command\": \"approval-proxy\""), "{text}");
}

#[test]
fn a_project_file_that_leads_to_the_file_of_the_user_is_the_users() {
    let home = home();
    let link = home.link("../.cursor/mcp.json", "work/.mcp.json");
    let plan = home.run_for(&link, Task::Wrap(None), &all());
    assert_eq!((plan.client.name, plan.scope), ("cursor", Scope::User));
    assert!(home.text().contains(PROGRAM));
}

#[test]
fn one_file_of_two_clients_keeps_the_originals_of_both() {
    let home = home();
    let text = "{\"mcpServers\": {\"a\": {\"command\":  \"x\"}}, \"servers\": {\"b\": {\"command\":  \"y\"}}}";
    let file = home.write("work/.mcp.json", text);
    let link = home.link("../.mcp.json", "work/.vscode/mcp.json");
    home.run_for(&file, Task::Wrap(None), &all());
    home.run_for(&link, Task::Wrap(None), &all());
    home.run_for(&file, Task::Unwrap, &all());
    let plan = home.run_for(&link, Task::Unwrap, &all());
    assert_eq!(plan.changes[0].note, None);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(home.kept(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_file_whose_name_only_the_link_tells_is_restored_by_that_name() {
    let home = home();
    let text = "[mcp_servers.a]\ncommand = \"x\"\n";
    let target = home.write("dotfiles/codex", text);
    let link = home.link("dotfiles/codex", "mine.toml");
    home.run_for(&link, Task::Wrap(None), &all());
    assert_eq!(home.with_ledger(), std::slice::from_ref(&link));
    // The link is gone: its target is all that is left.
    fs::remove_file(&link).unwrap();
    assert_eq!(home.with_ledger(), [target]);
}

#[test]
fn links_that_lead_nowhere_are_said() {
    let home = home();
    fs::remove_file(&home.file).unwrap();
    symlink("gone.json", &home.file).unwrap();
    let folders = Folders::of(&home.environment).unwrap();
    assert_eq!(
        user_files(&cursor::CLIENT, &folders),
        std::slice::from_ref(&home.file)
    );
    let error = home.plan(Task::Wrap(None)).unwrap_err();
    assert!(matches!(error, ClientsError::File(FileError::Dangling)));
    fs::remove_file(&home.file).unwrap();
    symlink("mcp.json", &home.file).unwrap();
    assert_eq!(
        user_files(&cursor::CLIENT, &folders),
        std::slice::from_ref(&home.file)
    );
    assert!(home.plan(Task::Wrap(None)).is_err());
}
