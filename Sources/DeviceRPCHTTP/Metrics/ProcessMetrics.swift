internal import Foundation

/// What the system knows of this process, under the names that Prometheus' own clients use.
enum ProcessMetrics {
  /// In the text format; empty where the system does not tell.
  static func text() -> String {
    guard let stat = read("/proc/self/stat"), let end = stat.lastIndex(of: ")") else { return "" }
    // The name of the process, which is before them, may have spaces. The first field here is the third of proc(5).
    let fields = stat[stat.index(after: end)...].split(separator: " ")
    guard fields.count > 21 else { return "" }
    func field(_ number: Int) -> Double { Double(fields[number - 3]) ?? 0 }
    let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
    var text = metric("process_cpu_seconds_total", "counter", "CPU time used, in seconds.", (field(14) + field(15)) / ticks)
    text += metric(
      "process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", field(24) * Double(sysconf(Int32(_SC_PAGESIZE))))
    text += metric("process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes.", field(23))
    if let boot = read("/proc/stat")?.split(separator: "\n").first(where: { $0.hasPrefix("btime ") }),
      let seconds = Double(boot.dropFirst("btime ".count))
    {
      text += metric(
        "process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.", seconds + field(22) / ticks)
    }
    if let open = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
      // The one that lists them is among them.
      text += metric("process_open_fds", "gauge", "Open file descriptors.", Double(open - 1))
    }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      text += metric("process_max_fds", "gauge", "File descriptors that may be open.", Double(limit.rlim_cur))
    }
    return text
  }

  private static func metric(_ name: String, _ kind: String, _ help: String, _ value: Double) -> String {
    "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n\(name) \(metricText(value))\n"
  }

  // These files have no size that could be asked for.
  private static func read(_ path: String) -> String? {
    guard let file = FileHandle(forReadingAtPath: path), let data = try? file.readToEnd() else { return nil }
    return String(decoding: data, as: UTF8.self)
  }
}
