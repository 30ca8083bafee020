//! Starts and stops the measured command.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::options::Options;
use crate::pipes::Pipes;

pub(crate) struct Child(std::process::Child);

impl Child {
    /// Starts the command with its stdin and stdout connected to this program.
    pub(crate) fn start(options: &Options) -> Outcome<(Child, Pipes)> {
        let (program, arguments) = options.command.split_first().ok_or("no command")?;
        let (its_stdin, stdin, stdout, its_stdout): (OwnedFd, OwnedFd, OwnedFd, OwnedFd);
        if options.sockets {
            let (input, output) = (UnixStream::pair()?, UnixStream::pair()?);
            (its_stdin, stdin) = (input.0.into(), input.1.into());
            (stdout, its_stdout) = (output.0.into(), output.1.into());
        } else {
            let (input, output) = (io::pipe()?, io::pipe()?);
            (its_stdin, stdin) = (input.0.into(), input.1.into());
            (stdout, its_stdout) = (output.0.into(), output.1.into());
        }
        let child = Command::new(program)
            .args(arguments)
            .stdin(its_stdin)
            .stdout(its_stdout)
            .stderr(match options.show_stderr {
                true => Stdio::inherit(),
                false => Stdio::null(),
            })
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let pipes = Pipes::new(stdin, stdout, options.timeout)?;
        Ok((Child(child), pipes))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for it to exit by itself, then kills it.
    pub(crate) fn wait(mut self, patience: Duration) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.0.try_wait()? {
                if let Some(signal) = status.signal() {
                    eprintln!("mcpload: the child died of signal {signal}");
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}
