//! Where a program works: in a data directory, or on a cluster.
//!
//! A flag beats a variable, whichever of the two places each of them says; where nothing is said at all, it is a
//! directory beside the program. Flags that say both are refused by whoever reads them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that says which data directory.
pub const DATA_VARIABLE: &str = "EGRET_DATA";
/// The variable that says which cluster.
pub const CLUSTER_VARIABLE: &str = "EGRET_CLUSTER";
/// The data directory when nothing is said.
pub const DATA_DEFAULT: &str = "egret-data";

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a data directory.
    Directory(PathBuf),
    /// On the cluster of which this file says where it is.
    Cluster(PathBuf),
}

impl Place {
    /// As flags say, or the variables where none does; of two variables that of the cluster counts.
    pub fn of(data: Option<&Path>, cluster: Option<&Path>) -> Place {
        let said = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let (data_said, cluster_said) = (said(DATA_VARIABLE), said(CLUSTER_VARIABLE));
        let variables = (data_said.as_ref().map(Path::new), cluster_said.as_ref().map(Path::new));
        Place::choose((data, cluster), variables)
    }

    /// Each a data directory and a cluster.
    fn choose(
        flags: (Option<&Path>, Option<&Path>),
        variables: (Option<&Path>, Option<&Path>),
    ) -> Place {
        let place = |(data, cluster): (Option<&Path>, Option<&Path>)| match (data, cluster) {
            (_, Some(cluster)) => Some(Place::Cluster(cluster.to_owned())),
            (Some(data), None) => Some(Place::Directory(data.to_owned())),
            (None, None) => None,
        };
        let default = || Place::Directory(DATA_DEFAULT.into());
        place(flags).or_else(|| place(variables)).unwrap_or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_either_variable_and_a_variable_what_is_there_without() {
        let (data, cluster) = (Some(Path::new("d")), Some(Path::new("c")));
        let (var_data, var_cluster) = (Some(Path::new("vd")), Some(Path::new("vc")));
        let (directory, on) =
            (|d: &str| Place::Directory(d.into()), |c: &str| Place::Cluster(c.into()));
        for variables in
            [(None, None), (var_data, None), (None, var_cluster), (var_data, var_cluster)]
        {
            assert_eq!(Place::choose((data, None), variables), directory("d"), "{variables:?}");
            assert_eq!(Place::choose((None, cluster), variables), on("c"), "{variables:?}");
        }
        assert_eq!(Place::choose((None, None), (var_data, None)), directory("vd"));
        assert_eq!(Place::choose((None, None), (None, var_cluster)), on("vc"));
        assert_eq!(Place::choose((None, None), (var_data, var_cluster)), on("vc"));
        assert_eq!(Place::choose((None, None), (None, None)), directory(DATA_DEFAULT));
    }
}
