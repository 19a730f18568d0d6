use super::*;

fn help(name: Option<&str>) -> Result<String, Failure> {
    let mut out = vec![];
    run(&HelpArgs { name: name.map(str::to_owned) }, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn every_guide_and_every_command_has_help() {
    for (name, _) in GUIDES {
        let text = help(Some(name)).unwrap();
        assert!(text.len() > 500 && text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }
    assert!(help(None).unwrap().contains("Usage: offsetd"));
    assert!(help(Some("sql")).unwrap().contains("Usage: offsetd sql"));
    let failure = help(Some("nonsense")).unwrap_err();
    assert_eq!(failure.code(), 64);
    assert!(failure.to_string().contains("sizing"), "{failure}");
}

#[test]
fn the_guides_name_settings_and_commands_that_exist() {
    let example = crate::config::example(&crate::source::kinds());
    for key in ["calls_per_second", "list_interval", "max_interval", "memory_per_query", "memory_total", "max_bytes"] {
        assert!(GUIDES.iter().any(|(_, text)| text.contains(key)), "{key} is in no guide");
        assert!(example.contains(&format!("\n{key} = ")), "{key} is not a setting");
    }
    let command = command_line();
    for (_, text) in GUIDES {
        for mentioned in text.split("\"offsetd ").skip(1).filter_map(|rest| rest.split([' ', '"']).next()) {
            assert!(command.find_subcommand(mentioned).is_some(), "offsetd {mentioned}");
        }
    }
}

#[test]
fn completions_know_every_command_in_three_shells() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut out = vec![];
        completions(&CompletionsArgs { shell }, &mut out).unwrap();
        let script = String::from_utf8(out).unwrap();
        for command in command_line().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}

#[test]
fn a_man_page_is_written_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = vec![];
    man(&ManArgs { dir: dir.path().join("new") }, &mut out).unwrap();
    let pages = fs::read_dir(dir.path().join("new")).unwrap().count();
    assert_eq!(pages, command_line().get_subcommands().count() + 1);
    let page = fs::read_to_string(dir.path().join("new/offsetd-sql.1")).unwrap();
    assert!(page.contains("offsetd\\-sql") && page.contains("\\-\\-format"), "{page}");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let failure = man(&ManArgs { dir: file.clone() }, &mut out).unwrap_err();
    assert!(failure.to_string().contains(file.to_str().unwrap()), "{failure}");
}
