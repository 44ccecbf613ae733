package flick.cdc;

import com.mysql.cj.MysqlConnection;
import com.mysql.cj.Query;
import com.mysql.cj.interceptors.QueryInterceptor;
import com.mysql.cj.jdbc.JdbcConnection;
import com.mysql.cj.log.Log;
import com.mysql.cj.protocol.Resultset;
import com.mysql.cj.protocol.ServerSession;
import java.sql.SQLException;
import java.util.Properties;
import java.util.function.Supplier;

/**
 * Flink CDC 3.5 asks for the end of the log by SHOW MASTER STATUS, which MySQL 8.4 does not know any more: there, it is asked as it wants to
 * be. The driver makes one of these for each connection.
 */
public class LogStatus implements QueryInterceptor {
    private JdbcConnection connection;

    @Override
    public QueryInterceptor init(MysqlConnection to, Properties properties, Log log) {
        connection = (JdbcConnection) to;
        return this;
    }

    /** Null leaves the query as it is, as for MariaDB and older servers. */
    @Override
    public <T extends Resultset> T preProcess(Supplier<String> sql, Query query) {
        if (sql == null || !"SHOW MASTER STATUS".equalsIgnoreCase(sql.get())) return null;
        try {
            @SuppressWarnings("unchecked")
            T status = (T) connection.createStatement().executeQuery("SHOW BINARY LOG STATUS");
            return status;
        } catch (SQLException unknownHere) {
            return null;
        }
    }

    @Override
    public <T extends Resultset> T postProcess(
            Supplier<String> sql, Query query, T result, ServerSession session) {
        return null;
    }

    @Override
    public boolean executeTopLevelOnly() {
        return true;
    }

    @Override
    public void destroy() {}
}
