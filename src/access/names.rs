//! The host names of this machine, by which clients reach the server.

use std::fs;

/// Returns the names in lower case: the host of the listen address, the machine's name, its aliases in `/etc/hosts`,
/// and its name in each search domain of the resolver. A missing file adds no names.
pub(super) fn own(listen: &str) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname");
    let mut names = of(host.trim(), &read("/etc/hosts"), &read("/etc/resolv.conf"));
    names.extend(listen.rsplit_once(':').map(|(host, _)| host.to_ascii_lowercase()));
    names
}

fn of(host: &str, hosts: &str, resolver: &str) -> Vec<String> {
    if host.is_empty() {
        return vec![];
    }
    let host = host.to_ascii_lowercase();
    let lines = |text: &str| -> Vec<Vec<String>> {
        let bare = text.lines().map(|line| line.split('#').next().unwrap_or_default().to_ascii_lowercase());
        bare.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let aliases = lines(hosts).into_iter().filter(|line| line.iter().skip(1).any(|name| *name == host));
    let aliases = aliases.flat_map(|line| line.into_iter().skip(1));
    let searched =
        lines(resolver).into_iter().filter(|line| line.first().is_some_and(|key| key == "search" || key == "domain"));
    let searched = searched.flat_map(|line| line.into_iter().skip(1));
    let searched = searched.map(|domain| format!("{host}.{}", domain.trim_end_matches('.')));
    let mut names: Vec<String> = aliases.chain(searched).collect();
    names.push(host);
    names
}

#[cfg(test)]
mod tests;
