internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// One who reads events. Its place in the feed is free again when it is released, whether or not its response was ever written.
final class EventReader: Sendable {
  private static let pieceBytes = 32 << 10

  private let feed: EventFeed
  let number: Int
  // An element when there is something to take.
  private let signals: AsyncStream<Void>
  // Ends when there will be no more events.
  private let endings: AsyncStream<Void>

  init(feed: EventFeed, number: Int, signals: AsyncStream<Void>, endings: AsyncStream<Void>) {
    self.feed = feed
    self.number = number
    self.signals = signals
    self.endings = endings
  }

  deinit { feed.remove(number) }

  /// Writes events until there are no more, or the client goes away, or the server shuts down.
  ///
  /// - Parameter connection: the body of the request, which tells when the client goes away.
  func write(to writer: any ResponseBodyWriter, _ connection: RequestBody?) async throws {
    // Otherwise a stream would hold up a server that waits for the end of all requests.
    try await withTaskCancellationOrGracefulShutdownHandler {
      guard let connection else { return try await writeUntilEnd(writer) }
      try await connection.consumeWithInboundCloseHandler { _ in
        try await self.writeUntilEnd(writer)
      } onInboundClosed: {
        self.feed.end(self.number)
      }
    } onCancelOrGracefulShutdown: {
      self.feed.end(self.number)
    }
  }

  // Unchecked, because one child task alone uses it, while the task that it comes from waits for that one's end.
  private struct Writer: @unchecked Sendable {
    let body: any ResponseBodyWriter
  }

  private func writeUntilEnd(_ writer: any ResponseBodyWriter) async throws {
    let writer = Writer(body: writer)
    let isComplete = await withTaskGroup(of: Bool.self) { group in
      group.addTask {
        defer { self.feed.remove(self.number) }
        do {
          try await self.writeBatches(to: writer.body)
          return true
        } catch {
          return false
        }
      }
      for await _ in endings {}
      // A client that does not read must not hold up the end.
      group.addTask {
        await self.feed.sleepForGrace()
        return false
      }
      let isComplete = await group.next() ?? false
      group.cancelAll()
      return isComplete
    }
    // So that the connection is closed, and the client knows that the response is not complete.
    if !isComplete { throw CancellationError() }
  }

  private func writeBatches(to writer: any ResponseBodyWriter) async throws {
    var writer = writer
    for await _ in signals {
      let batch = feed.take(number)
      // In pieces, so that what the connection has not taken yet is not there twice.
      var piece: [ByteBuffer] = []
      var bytes = 0
      for part in batch.text(origin: feed.origin, at: feed.now) {
        piece.append(part)
        bytes += part.readableBytes
        guard bytes >= Self.pieceBytes else { continue }
        try await writer.write(contentsOf: piece)
        piece = []
        bytes = 0
      }
      if !piece.isEmpty { try await writer.write(contentsOf: piece) }
      if batch.ending != nil { break }
    }
    try await writer.finish(nil)
  }
}
