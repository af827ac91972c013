internal import Foundation
internal import Glibc

/// The lines of standard input, read by a separate thread, since a read blocks until something is typed.
struct StandardInput: Sendable {
  enum Item: Sendable {
    case line(String)
    /// A line longer than `LineSplitter.longest` was dropped.
    case tooLong
  }

  static var isTerminal: Bool { isatty(STDIN_FILENO) == 1 }
  static var isDialogue: Bool { isTerminal && isatty(STDOUT_FILENO) == 1 }

  let items: AsyncStream<Item>
  // Limits the lines that are read ahead, so that a file of a million lines is not held in memory.
  private let room = DispatchSemaphore(value: 64)

  init() {
    // Reading in the background would stop the process; with SIGTTIN ignored, the read fails instead.
    signal(SIGTTIN, SIG_IGN)
    let (stream, continuation) = AsyncStream.makeStream(of: Item.self)
    items = stream
    // The thread ends with the input or with the process: nothing else interrupts its read.
    let thread = Thread { [room] in
      var splitter = LineSplitter()
      var buffer = [UInt8](repeating: 0, count: 4_096)
      let emit = { (item: Item) in
        room.wait()
        continuation.yield(item)
      }
      while true {
        let count = read(STDIN_FILENO, &buffer, 4_096)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { break }
        splitter.add(buffer[..<count], emit)
      }
      splitter.finish(emit)
      continuation.finish()
    }
    thread.name = "stdin"
    thread.start()
  }

  /// Makes room for another line. Must be called once for each item.
  func taken() { room.signal() }
}

/// Splits bytes into lines; bytes that are not UTF-8 become U+FFFD.
struct LineSplitter {
  /// The length of the longest line: 64 KiB.
  static let longest = 65_536

  private var line: [UInt8] = []
  private var isTooLong = false

  mutating func add(_ bytes: some Sequence<UInt8>, _ emit: (StandardInput.Item) -> Void) {
    for byte in bytes {
      if byte == UInt8(ascii: "\n") {
        end(emit)
      } else if line.count < Self.longest {
        line.append(byte)
      } else {
        isTooLong = true
      }
    }
  }

  /// Emits the last line, which need not end with a newline.
  mutating func finish(_ emit: (StandardInput.Item) -> Void) {
    if !line.isEmpty { end(emit) }
  }

  private mutating func end(_ emit: (StandardInput.Item) -> Void) {
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    emit(isTooLong ? .tooLong : .line(String(decoding: line, as: UTF8.self)))
    line.removeAll(keepingCapacity: true)
    isTooLong = false
  }
}
