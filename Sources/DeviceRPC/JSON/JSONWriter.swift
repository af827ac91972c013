/// Why a value cannot be written as JSON, and where in the value.
package struct JSONWriteError: Error, Hashable, Sendable {
  /// What was wrong.
  package let kind: Kind

  /// The path to the value, such as `params[1].gain`; empty for the value as a whole.
  package internal(set) var path = ""

  /// What can be wrong with a value.
  package enum Kind: Hashable, Sendable {
    /// NaN or an infinity, which JSON does not have (RFC 8259 section 6).
    case notFinite
    /// A byte string, which JSON does not have.
    case byteString
    /// Arrays and objects nested deeper than this limit.
    case tooDeep(limit: Int)
  }
}

extension JSONWriteError: CustomStringConvertible {
  /// A sentence such as `JSON cannot express NaN or infinity, at params[1].gain`.
  package var description: String {
    let problem =
      switch kind {
      case .notFinite: "JSON cannot express NaN or infinity"
      case .byteString: "JSON cannot express a byte string"
      case .tooDeep(let limit): "more than \(limit) levels for JSON"
      }
    return path.isEmpty ? problem : "\(problem), at \(path)"
  }
}

/// Writes an ``RPCValue`` as JSON (RFC 8259).
///
/// Doubles are written in the shortest form that reads back as the same value, and always as doubles: `7.0`, `1e+20`. Control
/// characters are escaped, including U+007F to U+009F, since text from a device may be printed on a terminal.
package struct JSONWriter {
  /// Appends a compact document.
  ///
  /// When it throws, `bytes` contains what was written until then.
  ///
  /// - Throws: ``JSONWriteError`` for NaN, infinities, byte strings, and more levels than
  ///   ``JSONLimits/standard`` reads.
  package static func write(_ value: RPCValue, to bytes: inout [UInt8]) throws(JSONWriteError) {
    let writer = JSONWriter(isPretty: false, isLenient: false)
    try writer.write(value, depth: 0, to: &bytes)
  }

  /// Returns a document for people: one member or element per line, indented by two spaces per level.
  ///
  /// - Throws: ``JSONWriteError`` as ``write(_:to:)`` does.
  package static func pretty(_ value: RPCValue) throws(JSONWriteError) -> String {
    var bytes: [UInt8] = []
    let writer = JSONWriter(isPretty: true, isLenient: false)
    try writer.write(value, depth: 0, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Returns compact JSON. What JSON cannot express is written as in CBOR's diagnostic notation (RFC 8949 section 8), and `"…"`
  /// replaces what is nested too deeply.
  static func description(of value: RPCValue) -> String {
    var bytes: [UInt8] = []
    // A lenient writer does not throw; if it did, the description would only be incomplete.
    try? JSONWriter(isPretty: false, isLenient: true).write(value, depth: 0, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  private let isPretty: Bool
  private let isLenient: Bool

  private func write(
    _ value: RPCValue, depth: Int, to bytes: inout [UInt8]
  ) throws(JSONWriteError) {
    switch value {
    case .null: bytes.append(contentsOf: "null".utf8)
    case .bool(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
    case .integer(let value): bytes.append(contentsOf: value.description.utf8)
    case .unsigned(let value): bytes.append(contentsOf: value.description.utf8)
    case .double(let value):
      if value.isFinite {
        bytes.append(contentsOf: value.description.utf8)
      } else if isLenient {
        bytes.append(contentsOf: (value.isNaN ? "NaN" : value < 0 ? "-Infinity" : "Infinity").utf8)
      } else {
        throw JSONWriteError(kind: .notFinite)
      }
    case .string(let value): Self.append(value, to: &bytes)
    case .bytes(let value):
      guard isLenient else { throw JSONWriteError(kind: .byteString) }
      Self.appendHexadecimal(value, to: &bytes)
    case .array, .object:
      let limit = JSONLimits.standard.maxDepth
      if depth < limit {
        try writeContainer(value, depth: depth + 1, to: &bytes)
      } else if isLenient {
        Self.append("…", to: &bytes)
      } else {
        throw JSONWriteError(kind: .tooDeep(limit: limit))
      }
    }
  }

  private func writeContainer(
    _ value: RPCValue, depth: Int, to bytes: inout [UInt8]
  ) throws(JSONWriteError) {
    var isFirst = true
    switch value {
    case .array(let elements):
      bytes.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        separate(&isFirst, depth: depth, in: &bytes)
        do { try write(element, depth: depth, to: &bytes) } catch {
          throw error.inside("[\(index)]")
        }
      }
      close(with: UInt8(ascii: "]"), isEmpty: isFirst, depth: depth, in: &bytes)
    case .object(let object):
      bytes.append(UInt8(ascii: "{"))
      for (key, member) in object {
        separate(&isFirst, depth: depth, in: &bytes)
        Self.append(key, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        if isPretty { bytes.append(0x20) }
        do { try write(member, depth: depth, to: &bytes) } catch { throw error.inside(key) }
      }
      close(with: UInt8(ascii: "}"), isEmpty: isFirst, depth: depth, in: &bytes)
    default: break
    }
  }

  private func separate(_ isFirst: inout Bool, depth: Int, in bytes: inout [UInt8]) {
    if !isFirst { bytes.append(UInt8(ascii: ",")) }
    isFirst = false
    if isPretty { breakLine(depth: depth, in: &bytes) }
  }

  private func close(with bracket: UInt8, isEmpty: Bool, depth: Int, in bytes: inout [UInt8]) {
    if isPretty, !isEmpty { breakLine(depth: depth - 1, in: &bytes) }
    bytes.append(bracket)
  }

  private func breakLine(depth: Int, in bytes: inout [UInt8]) {
    bytes.append(0x0A)
    bytes.append(contentsOf: repeatElement(0x20, count: 2 * depth))
  }
}

extension JSONWriter {
  private static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    var text = text
    text.withUTF8 { utf8 in
      var start = 0
      for index in utf8.indices {
        let next = index + 1 < utf8.count ? utf8[index + 1] : 0
        guard let escape = escape(for: utf8[index], next: next) else { continue }
        bytes.append(contentsOf: utf8[start..<index])
        bytes.append(contentsOf: escape.text.utf8)
        start = index + escape.length
      }
      bytes.append(contentsOf: utf8[start...])
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// The escape for the character that starts with this byte, and how many bytes it replaces.
  private static func escape(for byte: UInt8, next: UInt8) -> (text: String, length: Int)? {
    switch byte {
    case UInt8(ascii: "\""): ("\\\"", 1)
    case UInt8(ascii: "\\"): ("\\\\", 1)
    case 0x08: ("\\b", 1)
    case 0x09: ("\\t", 1)
    case 0x0A: ("\\n", 1)
    case 0x0C: ("\\f", 1)
    case 0x0D: ("\\r", 1)
    case 0x00..<0x20, 0x7F: (unicodeEscape(byte), 1)
    case 0xC2 where next < 0xA0: (unicodeEscape(next), 2)
    default: nil
    }
  }

  private static func unicodeEscape(_ code: UInt8) -> String {
    (code < 0x10 ? "\\u000" : "\\u00") + String(code, radix: 16)
  }

  /// `h'0102ff'`
  private static func appendHexadecimal(_ data: [UInt8], to bytes: inout [UInt8]) {
    bytes.append(contentsOf: "h'".utf8)
    for byte in data {
      if byte < 0x10 { bytes.append(UInt8(ascii: "0")) }
      bytes.append(contentsOf: String(byte, radix: 16).utf8)
    }
    bytes.append(UInt8(ascii: "'"))
  }
}

extension JSONWriteError {
  /// The same error seen from one level further out.
  fileprivate func inside(_ step: String) -> JSONWriteError {
    var error = self
    error.path = path.isEmpty || path.hasPrefix("[") ? step + path : "\(step).\(path)"
    return error
  }
}
