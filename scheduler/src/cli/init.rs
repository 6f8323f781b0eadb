//! `egret init`: a cluster's certificate authority, and the certificates it issues.
//!
//! ```text
//! DIR/cluster          the cluster's name
//! DIR/ca.pem           the authority's certificate: every process needs it
//! DIR/ca.key           its key: whoever has it can make anybody; keep it off the hosts
//! DIR/<name>.pem, .key a certificate and its key
//! ```
//! Every file is its owner's alone, and none is ever written over.

mod authority;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use egret_log::rpc::bookie::accepted::is_host;
use egret_schemas::bookie::Role;

use self::authority::Authority;
use super::exit::{Done, Exit};
use super::output;

/// Make a cluster's authority, and have it issue certificates.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Init {
    /// The cluster's name.
    #[arg(long, value_name = "NAME", required = true)]
    cluster: Option<String>,
    /// Where its files go; made if need be.
    #[arg(long, value_name = "DIR", default_value = "egret-certs")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Issue a certificate.
    Cert(Cert),
}

#[derive(Debug, Args)]
struct Cert {
    /// What its holder is: client, bookie, admin, or worker (a client that may be one of several worker
    /// processes of a topology).
    #[arg(long)]
    role: Role,
    /// Which one, for logs; also the name of the files.
    #[arg(long)]
    name: String,
    /// A host name or address it is reached by; may be given more than once.
    #[arg(long = "host", value_name = "HOST", value_parser = host)]
    hosts: Vec<String>,
    /// How many days it is good for.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// Where the authority's files are.
    #[arg(long, value_name = "DIR", default_value = "egret-certs")]
    dir: PathBuf,
}

fn host(text: &str) -> Result<String, String> {
    if is_host(text) {
        return Ok(text.to_owned());
    }
    Err("no certificate can name it: write a host name or an IP address, without a port".to_owned())
}

impl Init {
    pub(super) fn run(self) -> Done {
        match (self.verb, self.cluster) {
            (Some(Verb::Cert(cert)), _) => cert.run(),
            (None, Some(cluster)) => {
                Authority::create(&self.dir, &cluster)?;
                let dir = self.dir.display();
                output::line(&format!(
                    "made the authority of {cluster} in {dir}: keep {dir}/ca.key safe"
                ))?;
                Ok(())
            }
            (None, None) => Err(Exit::Usage("give --cluster NAME".to_owned())),
        }
    }
}

impl Cert {
    fn run(self) -> Done {
        if self.role == Role::Bookie && self.hosts.is_empty() {
            let why = "a bookie is reached by a name: give --host, such as --host localhost";
            return Err(Exit::Usage(why.to_owned()));
        }
        let authority = Authority::open(&self.dir)?;
        let (cert, key) = authority.issue(self.role, &self.name, &self.hosts, self.days)?;
        output::line(&format!("issued {} and {}", cert.display(), key.display()))?;
        Ok(())
    }
}
