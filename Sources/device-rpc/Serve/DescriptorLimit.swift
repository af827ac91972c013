internal import Glibc

/// Raises the limit of file descriptors to the hard limit. Shells often start programs with 1,024, and each simulated device
/// and each connection over TCP or TLS needs one.
///
/// Ends the process with one line if the limit is lower than any command needs. Otherwise the system's libraries would trap
/// when no descriptor is left, without a message.
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
  // Without Foundation, which would need descriptors itself.
  let line = "Error: this process may have \(limit.rlim_max) open files, and needs \(fewest); raise the limit, ulimit -n\n"
  write(STDERR_FILENO, line, line.utf8.count)
  exit(1)
}

/// How many files this process may have open.
var descriptorLimit: Int {
  var limit = rlimit()
  return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? Int(clamping: limit.rlim_cur) : .max
}
