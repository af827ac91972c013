internal import ArgumentParser
internal import Glibc

/// A connection to an HTTP server on loopback, for one request at a time. It costs next to nothing, so that the server is measured.
struct HTTPConnection {
  struct Answer {
    var status: Int
    var body: String
  }

  let descriptor: Int32
  /// When the request was due, in nanoseconds; nil when none is under way.
  var began: UInt64?
  private var received: [UInt8] = []
  private var buffer = [UInt8](repeating: 0, count: 16_384)

  init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = UInt16(port).bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let isConnected = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { throw ValidationError("Nothing listens on port \(port): \(String(cString: strerror(errno))).") }
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
  }

  static func request(_ method: String, _ path: String, headers: String = "", body: String = "") -> [UInt8] {
    let type = body.isEmpty ? "" : "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n"
    return Array("\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\(headers)\(type)\r\n\(body)".utf8)
  }

  mutating func send(_ request: [UInt8], at time: UInt64) throws {
    guard Glibc.send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      throw ValidationError("The server has closed a connection.")
    }
    began = time
  }

  /// Reads what has arrived. Returns the answer when it is complete.
  mutating func receive() throws -> Answer? {
    let count = recv(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { throw ValidationError("The server has closed a connection.") }
    received += buffer[..<count]
    guard let head = Self.head(of: received) else { return nil }
    guard received.count >= head.end + head.length else { return nil }
    let body = String(decoding: received[head.end..<head.end + head.length], as: UTF8.self)
    received = []
    began = nil
    return Answer(status: head.status, body: body)
  }

  /// Reads what has arrived of a stream without an end. Returns how many events begin in it.
  mutating func receiveEvents() throws -> Int {
    let count = recv(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { throw ValidationError("The server has closed a connection.") }
    // A line feed of each, and of no other line.
    let mark = Array("\nevent: ".utf8)
    received += buffer[..<count]
    var events = 0
    var index = 0
    while index + mark.count <= received.count {
      if received[index] == 10, received[index..<index + mark.count].elementsEqual(mark) { events += 1 }
      index += 1
    }
    received.removeFirst(index)
    return events
  }

  private static func head(of bytes: [UInt8]) -> (status: Int, length: Int, end: Int)? {
    let text = String(decoding: bytes.prefix(2_048), as: UTF8.self)
    guard let end = text.firstRange(of: "\r\n\r\n") else { return nil }
    let lines = text[..<end.lowerBound].split(separator: "\r\n")
    let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    let length = lines.first { $0.lowercased().hasPrefix("content-length:") }?.split(separator: " ").last.flatMap { Int($0) } ?? 0
    return (status, length, text[..<end.upperBound].utf8.count)
  }
}
