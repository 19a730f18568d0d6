import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

/**
 * Queries a demo server (argument: host:port), and one with TLS and tokens (host:port, a token, the file of its CA), with
 * the JDBC driver of Flight SQL; prints the number of passed checks. With the first argument alone,
 * it checks times in the time zone of the JVM.
 */
public final class Client {
  interface Check {
    void run() throws Exception;
  }

  static String url;
  static String secured;
  static String token;
  static final Map<String, Check> CHECKS = new LinkedHashMap<>();

  static Connection connect() throws SQLException {
    return DriverManager.getConnection(url);
  }

  static void that(boolean holds, Object what) {
    if (!holds) throw new AssertionError(what);
  }

  static List<String> strings(ResultSet rows, String column) throws SQLException {
    List<String> found = new ArrayList<>();
    try (rows) {
      while (rows.next()) found.add(rows.getString(column));
    }
    return found;
  }

  static void refuses(String sql, String word) throws SQLException {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute(sql);
    } catch (SQLException error) {
      that(error.getMessage().contains(word), error);
      return;
    }
    throw new AssertionError("no error: " + sql);
  }

  static void statements() throws SQLException {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      String sql = "SELECT group_id, partition, committed_offset, committed_at, CAST(NULL AS TIMESTAMP) AS never, 'x' IS NULL AS no FROM offsets "
          + "WHERE committed_at IS NOT NULL ORDER BY 1, 2";
      ResultSet rows = statement.executeQuery(sql);
      int count = 0;
      while (rows.next()) {
        count++;
        that(rows.getString("group_id") != null && rows.getInt(2) >= 0 && rows.getLong(3) >= 0, rows);
        that(rows.getObject("committed_at") instanceof Timestamp, rows.getObject("committed_at").getClass());
        that(rows.getTimestamp("committed_at").getTime() > 1_700_000_000_000L, rows.getTimestamp("committed_at"));
        that(rows.getObject("never") == null && rows.wasNull(), "NULL");
        that(!rows.getBoolean("no"), "no");
      }
      that(count > 10, count);
      that(rows.getMetaData().getColumnType(4) == Types.TIMESTAMP, rows.getMetaData().getColumnType(4));
      that(statement.execute("SELECT 1"), "a query gives rows");
    }
  }

  static void prepared() throws SQLException {
    try (Connection connection = connect()) {
      String one = "SELECT group_id, partition FROM offsets ORDER BY 1, 2 LIMIT 1";
      String group;
      int partition;
      try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(one)) {
        that(rows.next(), "rows");
        group = rows.getString(1);
        partition = rows.getInt(2);
      }
      for (String where : new String[] {"partition = ? AND group_id = ?", "partition = $1 AND group_id = $2"}) {
        String sql = "SELECT group_id, partition, '?' FROM offsets WHERE " + where;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
          that(statement.getParameterMetaData().getParameterCount() == 2, "two parameters");
          that(statement.getMetaData().getColumnCount() == 3, "three columns");
          for (int again = 0; again < 2; again++) {
            statement.setInt(1, partition);
            statement.setString(2, group);
            try (ResultSet rows = statement.executeQuery()) {
              that(rows.next() && rows.getString(1).equals(group) && rows.getInt(2) == partition, "the row");
            }
          }
          statement.setString(2, "no such group");
          statement.setInt(1, partition);
          try (ResultSet rows = statement.executeQuery()) {
            that(!rows.next(), "another value, other rows");
          }
        }
      }
    }
  }

  static void preparedTimes() throws SQLException {
    try (Connection connection = connect();
        PreparedStatement statement =
            connection.prepareStatement("SELECT count(*) FROM offsets WHERE committed_offset >= ? AND committed_at > ?")) {
      statement.setLong(1, 0);
      statement.setTimestamp(2, new Timestamp(1_000_000_000_000L));
      try (ResultSet rows = statement.executeQuery()) {
        that(rows.next() && rows.getLong(1) > 10, "rows since");
      }
    }
  }

  static void tables() throws SQLException {
    try (Connection connection = connect()) {
      DatabaseMetaData metadata = connection.getMetaData();
      List<String> all = strings(metadata.getTables(null, null, null, null), "TABLE_NAME");
      that(all.contains("offsets") && all.contains("lag") && all.contains("columns"), all);
      that(strings(metadata.getTables("offsetd", "pub%", "offset_", new String[] {"TABLE"}), "TABLE_NAME")
          .equals(List.of("offsets")), "patterns");
      that(strings(metadata.getTables("other", null, null, null), "TABLE_NAME").isEmpty(), "another catalog");
      that(strings(metadata.getTables(null, null, "%", new String[] {"VIEW"}), "TABLE_NAME")
          .equals(List.of("active_consumers", "consumers", "relations", "source_differences", "stopped_groups")), "views");
      that(strings(metadata.getCatalogs(), "TABLE_CAT").equals(List.of("offsetd")), "catalogs");
      that(strings(metadata.getSchemas(), "TABLE_SCHEM").equals(List.of("public")), "schemas");
      that(strings(metadata.getTableTypes(), "TABLE_TYPE").equals(List.of("TABLE", "VIEW")), "table types");
    }
  }

  static void columns() throws SQLException {
    try (Connection connection = connect()) {
      Map<String, String> remarks = new HashMap<>(), types = new HashMap<>(), nullable = new HashMap<>();
      try (ResultSet rows = connection.getMetaData().getColumns(null, null, "offsets", null)) {
        while (rows.next()) {
          remarks.put(rows.getString("COLUMN_NAME"), rows.getString("REMARKS"));
          types.put(rows.getString("COLUMN_NAME"), rows.getString("TYPE_NAME"));
          nullable.put(rows.getString("COLUMN_NAME"), rows.getString("IS_NULLABLE"));
        }
      }
      that("Offset of the next record that the group reads".equals(remarks.get("committed_offset")), remarks);
      that("BIGINT".equals(types.get("committed_offset")) && "TIMESTAMP".equals(types.get("committed_at")), types);
      that("NO".equals(nullable.get("group_id")) && "YES".equals(nullable.get("topic_id")), nullable);
    }
  }

  static void types() throws SQLException {
    try (Connection connection = connect()) {
      // Driver 18.3.0 does not query the server, but must return a result.
      that(strings(connection.getMetaData().getTypeInfo(), "TYPE_NAME") != null, "an answer");
    }
  }

  static void keys() throws SQLException {
    try (Connection connection = connect()) {
      DatabaseMetaData metadata = connection.getMetaData();
      that(strings(metadata.getPrimaryKeys(null, null, "offsets"), "COLUMN_NAME").isEmpty(), "primary");
      that(strings(metadata.getImportedKeys(null, null, "offsets"), "FKCOLUMN_NAME").isEmpty(), "imported");
      that(strings(metadata.getExportedKeys(null, null, "offsets"), "FKCOLUMN_NAME").isEmpty(), "exported");
      that(strings(metadata.getCrossReference(null, null, "offsets", null, null, "lag"), "FKCOLUMN_NAME").isEmpty(), "cross");
    }
  }

  static void info() throws Exception {
    try (Connection connection = connect()) {
      DatabaseMetaData metadata = connection.getMetaData();
      that(metadata.getDatabaseProductName().equals("offsetd") && metadata.isReadOnly(), "name, read-only");
      that(!metadata.getDatabaseProductVersion().isEmpty() && !metadata.supportsTransactions(), "version, transactions");
      that(metadata.getIdentifierQuoteString().equals("\"") && metadata.supportsFullOuterJoins(), "quote, joins");
      that(metadata.supportsUnionAll() && metadata.supportsGroupBy() && !metadata.supportsSavepoints(), "unions, groups");
      // Every method without parameters, because tools call all of them.
      List<String> broken = new ArrayList<>();
      for (var method : DatabaseMetaData.class.getMethods()) {
        String name = method.getName();
        boolean plain = method.getParameterCount() == 0 && (method.getReturnType().isPrimitive() || method.getReturnType() == String.class);
        if (!plain) continue;
        try {
          method.invoke(metadata);
        } catch (java.lang.reflect.InvocationTargetException error) {
          broken.add(name + ": " + error.getCause());
        }
      }
      that(broken.isEmpty(), broken);
    }
  }

  static void errors() throws SQLException {
    refuses("SELEC 1", "syntax error");
    refuses("SELECT nothing FROM lag", "nothing");
    for (String sql : new String[] {"INSERT INTO offsets VALUES (1)", "DROP TABLE offsets", "UPDATE offsets SET partition = 1"})
      refuses(sql, "read-only");
  }

  static void credentials() throws SQLException {
    for (Map<String, String> given : List.of(Map.of("user", "u", "password", "p"), Map.of("token", "t"))) {
      Properties properties = new Properties();
      properties.putAll(given);
      try (Connection connection = DriverManager.getConnection(url, properties);
          ResultSet rows = connection.createStatement().executeQuery("SELECT 1")) {
        that(rows.next() && rows.getLong(1) == 1, given);
      }
    }
  }

  static void access() throws SQLException {
    List<Map<String, String>> good = List.of(Map.of("user", "any-user", "password", token), Map.of("token", token));
    List<Map<String, String>> bad = List.of(Map.of(), Map.of("user", "any-user", "password", "not-" + token));
    for (Map<String, String> given : good) {
      Properties properties = new Properties();
      properties.putAll(given);
      try (Connection connection = DriverManager.getConnection(secured, properties);
          ResultSet rows = connection.createStatement().executeQuery("SELECT count(*) FROM groups")) {
        that(rows.next() && rows.getLong(1) > 5, given);
      }
    }
    for (Map<String, String> given : bad) {
      Properties properties = new Properties();
      properties.putAll(given);
      try (Connection connection = DriverManager.getConnection(secured, properties);
          ResultSet rows = connection.createStatement().executeQuery("SELECT 1")) {
        throw new AssertionError("no error: " + given);
      } catch (SQLException error) {
        that(error.getMessage().contains("token"), error);
      }
    }
  }

  static void catalog() throws SQLException {
    Properties properties = new Properties();
    properties.put("catalog", "offsetd");
    Connection connection = DriverManager.getConnection(url, properties);
    try (ResultSet rows = connection.createStatement().executeQuery("SELECT 1")) {
      that(rows.next() && rows.getLong(1) == 1, "a row");
    }
    try {
      connection.close();
    } catch (SQLException error) {
      // Driver 18.3.0 closes the session, then its channel, then the session again.
      that(error.getMessage().contains("Channel shutdown invoked"), error);
    }
  }

  /**
   * Driver 18.3.0 subtracts the JVM's offset from UTC twice, for timestamps with a zone as for those without. Only
   * getString and LocalDateTime show the UTC time of the server in every time zone; hence -Duser.timezone=UTC.
   */
  static void timeZones() throws SQLException {
    for (String month : new String[] {"01", "07"}) {
      String wall = "2026-" + month + "-15T12:00:00";
      Instant instant = Instant.parse(wall + "Z");
      Duration offset = Duration.ofSeconds(ZoneId.systemDefault().getRules().getOffset(instant).getTotalSeconds());
      Instant shifted = instant.minus(offset.multipliedBy(2));
      for (String type : new String[] {"", " AT TIME ZONE 'UTC'"}) {
        String sql = "SELECT to_timestamp('" + wall + "')" + type + " AS t";
        try (Connection connection = connect(); Statement statement = connection.createStatement();
            ResultSet rows = statement.executeQuery(sql)) {
          that(rows.next(), sql);
          that(rows.getString(1).equals(wall.replace('T', ' ') + ".0"), rows.getString(1));
          that(rows.getObject(1, LocalDateTime.class).equals(LocalDateTime.parse(wall)), rows.getObject(1, LocalDateTime.class));
          that(rows.getTimestamp(1).toInstant().equals(shifted), rows.getTimestamp(1).toInstant());
          that(((Timestamp) rows.getObject(1)).toInstant().equals(shifted), rows.getObject(1));
        }
      }
    }
  }

  static void emptyAnswers() throws SQLException {
    String sql = "SELECT group_id, lag FROM lag WHERE false";
    // createStatement is not used, because driver 18.3.0 then counts the columns of an empty result twice.
    try (Connection connection = connect(); PreparedStatement statement = connection.prepareStatement(sql);
        ResultSet rows = statement.executeQuery()) {
      that(rows.getMetaData().getColumnCount() == 2, rows.getMetaData().getColumnCount());
      that(!rows.next(), "no rows");
    }
    try (Connection connection = connect(); Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery(sql)) {
      that(!rows.next(), "no rows");
    }
  }

  public static void main(String[] args) throws Exception {
    // The driver also logs the exceptions that it throws.
    java.util.logging.LogManager.getLogManager().reset();
    url = "jdbc:arrow-flight-sql://" + args[0] + "?useEncryption=false";
    if (args.length == 1) {
      CHECKS.put("times in " + ZoneId.systemDefault(), Client::timeZones);
      runChecks();
    }
    secured = "jdbc:arrow-flight-sql://" + args[1] + "?tlsRootCerts=" + args[3];
    token = args[2];
    CHECKS.put("statements, with times as objects", Client::statements);
    CHECKS.put("prepared statements with ? and $1", Client::prepared);
    CHECKS.put("prepared statements with times", Client::preparedTimes);
    CHECKS.put("catalogs, schemas, tables", Client::tables);
    CHECKS.put("columns with remarks", Client::columns);
    CHECKS.put("types", Client::types);
    CHECKS.put("keys", Client::keys);
    CHECKS.put("what the server can do", Client::info);
    CHECKS.put("errors", Client::errors);
    CHECKS.put("credentials", Client::credentials);
    CHECKS.put("tokens and TLS", Client::access);
    CHECKS.put("a catalog in the connection", Client::catalog);
    CHECKS.put("empty answers", Client::emptyAnswers);
    runChecks();
  }

  /** Runs all checks and ends the process. */
  static void runChecks() {
    int failed = 0;
    for (var check : CHECKS.entrySet()) {
      try {
        check.getValue().run();
        System.out.println("ok     " + check.getKey());
      } catch (Throwable error) {
        failed++;
        System.out.println("FAILED " + check.getKey());
        error.printStackTrace(System.out);
      }
    }
    System.out.printf("checks: %d passed; %d failed%n", CHECKS.size() - failed, failed);
    System.exit(failed == 0 ? 0 : 1);
  }
}
