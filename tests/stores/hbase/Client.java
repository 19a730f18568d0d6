import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.HRegionLocation;
import org.apache.hadoop.hbase.NamespaceDescriptor;
import org.apache.hadoop.hbase.ServerName;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Delete;
import org.apache.hadoop.hbase.client.Put;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.security.access.AccessControlClient;
import org.apache.hadoop.hbase.security.access.Permission;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * HBase's own client, controlled by the tests: each line on standard input is a command whose arguments are separated
 * by tabs; each line on standard output is "ok" or the error of the command before.
 */
public final class Client {
    private final Connection connection;
    private final Admin admin;

    private Client(Connection connection) throws Exception {
        this.connection = connection;
        this.admin = connection.getAdmin();
    }

    public static void main(String[] arguments) throws Exception {
        Configuration configuration = HBaseConfiguration.create();
        try (Connection connection = ConnectionFactory.createConnection(configuration)) {
            Client client = new Client(connection);
            BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = commands.readLine(); line != null; line = commands.readLine()) {
                try {
                    client.run(line.split("\t", -1));
                    System.out.println("ok");
                } catch (Throwable error) {
                    System.out.println(String.valueOf(error).replace('\n', ' '));
                }
            }
        }
        // Threads of the client may still run.
        System.exit(0);
    }

    private void run(String[] words) throws Throwable {
        TableName name = TableName.valueOf(words[1]);
        switch (words[0]) {
            // create TABLE FAMILY [FIRST ROW OF A FURTHER REGION]...
            case "create" -> create(name, words);
            // put TABLE ROW FAMILY:QUALIFIER TYPE:VALUE [TIMESTAMP]
            case "put" -> {
                try (Table table = connection.getTable(name)) {
                    Put put = new Put(Bytes.toBytes(words[2]));
                    int colon = words[3].indexOf(':');
                    byte[] family = Bytes.toBytes(words[3].substring(0, colon));
                    byte[] qualifier = Bytes.toBytes(words[3].substring(colon + 1));
                    if (words.length > 5) {
                        put.addColumn(family, qualifier, Long.parseLong(words[5]), value(words[4]));
                    } else {
                        put.addColumn(family, qualifier, value(words[4]));
                    }
                    table.put(put);
                }
            }
            // fill TABLE FAMILY ROWS COLUMNS: rows topic-I:group-I:1 with the offset 1000 + COLUMN in each column.
            case "fill" -> fill(name, words);
            // delete TABLE ROW
            case "delete" -> {
                try (Table table = connection.getTable(name)) {
                    table.delete(new Delete(Bytes.toBytes(words[2])));
                }
            }
            // split TABLE ROW: splits the region of a row at that row.
            case "split" -> {
                byte[] region = region(name, words[2]).getRegion().getRegionName();
                admin.splitRegionAsync(region, Bytes.toBytes(words[2])).get();
            }
            // move TABLE ROW: moves the region of a row to another server.
            case "move" -> {
                HRegionLocation region = region(name, words[2]);
                for (ServerName server : admin.getRegionServers()) {
                    if (!server.equals(region.getServerName())) {
                        admin.move(region.getRegion().getEncodedNameAsBytes(), server);
                        return;
                    }
                }
                throw new IllegalStateException("there is no other region server");
            }
            case "disable" -> admin.disableTable(name);
            // grant TABLE USER
            case "grant" -> AccessControlClient.grant(connection, name, words[2], null, null, Permission.Action.READ);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private void create(TableName name, String[] words) throws Exception {
        if (!name.getNamespaceAsString().equals("default")) {
            admin.createNamespace(NamespaceDescriptor.create(name.getNamespaceAsString()).build());
        }
        byte[][] splits = new byte[words.length - 3][];
        for (int at = 0; at < splits.length; at++) {
            splits[at] = Bytes.toBytes(words[at + 3]);
        }
        TableDescriptorBuilder table = TableDescriptorBuilder.newBuilder(name);
        for (String family : words[2].split(",")) {
            table.setColumnFamily(ColumnFamilyDescriptorBuilder.of(family));
        }
        admin.createTable(table.build(), splits.length == 0 ? null : splits);
    }

    private void fill(TableName name, String[] words) throws Exception {
        List<Put> puts = new ArrayList<>();
        try (Table table = connection.getTable(name)) {
            for (int row = 0; row < Integer.parseInt(words[3]); row++) {
                Put put = new Put(Bytes.toBytes("topic-" + row + ":group-" + row + ":1"));
                for (int column = 0; column < Integer.parseInt(words[4]); column++) {
                    byte[] offset = Bytes.toBytes("" + (1000 + column));
                    put.addColumn(Bytes.toBytes(words[2]), Bytes.toBytes("" + column), offset);
                }
                puts.add(put);
                if (puts.size() == 500) {
                    table.put(puts);
                    puts.clear();
                }
            }
            table.put(puts);
        }
    }

    private HRegionLocation region(TableName name, String row) throws Exception {
        return connection.getRegionLocator(name).getRegionLocation(Bytes.toBytes(row), true);
    }

    private static byte[] value(String text) {
        String value = text.substring(text.indexOf(':') + 1);
        return switch (text.substring(0, text.indexOf(':'))) {
            case "text" -> Bytes.toBytes(value);
            case "int64" -> Bytes.toBytes(Long.parseLong(value));
            case "int32" -> Bytes.toBytes(Integer.parseInt(value));
            case "hex" -> HexFormat.of().parseHex(value);
            default -> throw new IllegalArgumentException(text);
        };
    }
}
