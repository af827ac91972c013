internal import Glibc

/// Connects a socket of IPv4 to a port of 127.0.0.1. Returns 0, or -1 and says in `errno` why not.
package func connectToLoopback(_ descriptor: Int32, _ port: UInt16) -> Int32 {
  var name = sockaddr_in()
  name.sin_family = sa_family_t(AF_INET)
  name.sin_port = port.bigEndian
  name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return withUnsafePointer(to: &name) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
  }
}
