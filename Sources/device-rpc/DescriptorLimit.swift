internal import Glibc

/// Takes as many descriptors as the system allows: shells often start programs with 1,024 of them, and each simulated device
/// and each connection over TCP or TLS needs one.
func raiseDescriptorLimit() {
  var limit = rlimit()
  let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  guard getrlimit(resource, &limit) == 0 else { return }
  limit.rlim_cur = limit.rlim_max
  setrlimit(resource, &limit)
}
