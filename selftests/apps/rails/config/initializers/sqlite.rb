# frozen_string_literal: true

# SQLite's own wait for a lock holds Ruby's: the thread that has the lock could never give it back.
module PatientSQLite
  private

  def configure_connection
    super
    raw_connection.busy_handler { |count| sleep(0.002) && count < 2500 }
  end
end

ActiveSupport.on_load(:active_record_sqlite3adapter) { prepend PatientSQLite }
