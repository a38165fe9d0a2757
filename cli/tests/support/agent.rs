//! An agent in a process of its own, that joins a herd.

use std::path::Path;

use crate::herd::Herd;
use crate::service::Service;

/// An agent of `rdcq node`.
pub(crate) struct Agent {
    pub(crate) addr: String,
    _node: Service,
}

impl Agent {
    /// Starts an agent of the herd that keeps its content in `data_dir`.
    pub(crate) fn start(herd: &Herd, data_dir: &Path) -> Self {
        let certs = herd.folder().join("certs");
        let certs = certs.to_str().unwrap();
        let issue =
            ["certs", "issue", "--ca", certs, "--node", "joined", "--role", "agent", "--out", "joined"];
        herd.run(&issue).succeeded();
        let settings = std::fs::read_to_string(herd.folder().join("client.toml")).unwrap();
        let servers = &settings[settings.find("[herd]").unwrap()..settings.find("[client]").unwrap()];
        let identity = r#"
            [identity]
            ca = "joined/ca.pem"
            cert = "joined/joined.pem"
            key = "joined/joined.key"
            [agent]
            listen = "127.0.0.1:0"
            "#;
        let text = format!("data_dir = \"{}\"\n{identity}\n{servers}", data_dir.display());
        let config = herd.user.write("joined.toml", &text);
        let mut command = herd.user.command();
        command.arg("node").arg("--config").arg(config);
        let (node, ready) = Service::start(&mut command, &herd.path("joined.log"));
        let addr = ready["ready"][0]["addr"].as_str().unwrap().to_owned();
        Self { addr, _node: node }
    }
}
