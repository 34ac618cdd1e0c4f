//! Runs the kernels as compiled by `g++`, in a separate process.

use std::{
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::OnceLock,
};

use longshore_loader_cuda::dequantize::{Addresses, GlobalScaleAddress, Launch};

use crate::cases::{Case, Global, Run};

/// Environment variable that requires the compiler.
const REQUIRED: &str = "LONGSHORE_TEST_KERNELS";

/// A running harness. `kernels/host/harness.cpp` describes its input and output.
#[derive(Debug)]
pub(crate) struct Harness {
    child: Child,
}

impl Harness {
    /// Starts a harness that stops at any access beyond a buffer and at any undefined behaviour. Returns `None` where
    /// there is no compiler and none is required.
    pub(crate) fn start() -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        Some(Self::spawn(PROGRAM.get_or_init(|| compile("checked", &SANITIZERS)).as_deref()?))
    }

    /// Starts a harness without these checks, for many elements.
    pub(crate) fn start_fast() -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        Some(Self::spawn(PROGRAM.get_or_init(|| compile("fast", &[])).as_deref()?))
    }

    fn spawn(program: &Path) -> Self {
        let child = Command::new(program)
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the harness starts");
        Self { child }
    }

    fn launch(&mut self, launch: &Launch, [weight, scale, extra]: [Option<&[u8]>; 3], output: &mut [u8]) {
        let mut message = Vec::new();
        let name = launch.kernel.name();
        message.extend(u32::try_from(name.len()).expect("it is short").to_le_bytes());
        message.extend(name.bytes());
        for number in [launch.grid[0], launch.grid[1], launch.block] {
            message.extend(number.to_le_bytes());
        }
        message.extend(launch.arguments.units.to_le_bytes());
        message.extend(launch.arguments.group_shift.to_le_bytes());
        for part in [weight, scale, extra] {
            let len = part.map_or(u64::MAX, |part| u64::try_from(part.len()).expect("it is in memory"));
            message.extend(len.to_le_bytes());
            message.extend(part.unwrap_or_default());
        }
        message.extend(u64::try_from(output.len()).expect("it is in memory").to_le_bytes());
        let input = self.child.stdin.as_mut().expect("it is piped");
        input.write_all(&message).and_then(|()| input.flush()).expect("the harness reads; else it says why");
        let out = self.child.stdout.as_mut().expect("it is piped");
        out.read_exact(output).expect("the harness answers; else it says why");
    }
}

impl Run for Harness {
    fn run(&mut self, case: &Case) -> Vec<u8> {
        let global = case.global_bytes();
        let at = Addresses {
            weight: 1 << 40,
            scale: 2 << 40,
            bias: case.scheme.has_bias().then_some(3 << 40),
            global_scale: match case.global {
                Global::None => None,
                Global::One(_) => Some(GlobalScaleAddress::One(4 << 40)),
                Global::PerMatrix(_) => Some(GlobalScaleAddress::PerMatrix(4 << 40)),
            },
            output: 5 << 40,
        };
        let launch = case.tensor().launch(&at).expect("the case is sound").expect("it has elements");
        assert_eq!((launch.arguments.weight, launch.arguments.scale), (at.weight, at.scale));
        assert_eq!(launch.arguments.output, at.output);
        let extra = match launch.arguments.extra {
            0 => None,
            address if Some(address) == at.bias => Some(&case.bias[..]),
            address => {
                assert_eq!(address, 4 << 40);
                global.as_deref()
            }
        };
        let mut output = vec![0; case.output_bytes()];
        self.launch(&launch, [Some(&case.weight), Some(&case.scale), extra], &mut output);
        output
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

const SANITIZERS: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Compiles the harness with additional options.
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
fn compile(what: &str, options: &[&str]) -> Option<PathBuf> {
    let required = env::var_os(REQUIRED).is_some_and(|value| value == "1");
    if Command::new("g++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        assert!(!required, "{REQUIRED} is set and there is no g++");
        eprintln!("skipped: the kernels are not compiled for the host, as there is no g++");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).expect("the target's folder is writable");
    // The program is built under a temporary name, because two test runs at once must not replace each other's program.
    let (program, made) =
        (folder.join(format!("kernels-{what}")), folder.join(format!("kernels-{what}-{}", process::id())));
    let done = Command::new("g++")
        .args(["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"])
        .args(options)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/host/harness.cpp"))
        .arg("-o")
        .arg(&made)
        .output()
        .expect("g++ starts");
    assert!(done.status.success(), "g++ fails:\n{}", String::from_utf8_lossy(&done.stderr));
    fs::rename(&made, &program).expect("the target's folder is writable");
    Some(program)
}
