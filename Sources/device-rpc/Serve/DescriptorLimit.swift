internal import Glibc

/// Takes as many descriptors as the system allows: shells often start programs with 1,024 of them, and each simulated device
/// and each connection over TCP or TLS needs one.
///
/// Ends the process, with one line, when these are fewer than any command needs: the libraries of the system do not tell that
/// they have none left, but trap.
func raiseDescriptorLimit() {
  let fewest: rlim_t = 64
  var limit = rlimit()
  let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  guard getrlimit(resource, &limit) == 0 else { return }
  limit.rlim_cur = limit.rlim_max
  guard limit.rlim_max < fewest else {
    setrlimit(resource, &limit)
    return
  }
  // Without Foundation, which would want some itself.
  let line = "Error: this process may have \(limit.rlim_max) open files, and needs \(fewest); raise the limit, ulimit -n\n"
  write(STDERR_FILENO, line, line.utf8.count)
  exit(1)
}
