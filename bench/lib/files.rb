# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require 'fileutils'
require 'tmpdir'

module Lab
  # The files that every server of files serves: one folder for all peers of a run.
  module Files
    SIZES = { file1k: 1024, file64k: 65_536, file1m: 1 << 20, file100m: 100 << 20 }.freeze
    PATHS = SIZES.to_h { |name, _| [name, "/files/#{name}.txt"] }.freeze

    # Made when somebody asks, in the tree: the folder for temporary files may be memory.
    def self.folder
      @folder ||= Dir.mktmpdir('lab-files-', File.join(ROOT, 'build')).tap do |dir|
        File.chmod(0o755, dir)
        at_exit { FileUtils.rm_rf(dir) }
        SIZES.each { |name, size| File.write(File.join(dir, "#{name}.txt"), 'x' * size) }
      end
    end
  end
end
