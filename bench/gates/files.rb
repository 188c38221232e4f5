# SPDX-License-Identifier: MIT
# frozen_string_literal: true

Lab.gate :'file1k-floor' do
  says 'a file of 1 KiB costs little more than the kernel alone'
  on :file1k
  ratio :'hyperion-files', :floor, at_most: 1.2
end

Lab.gate :'file1k-nginx' do
  says 'a file of 1 KiB costs clearly less than with nginx and its open_file_cache'
  on :file1k
  ratio :'hyperion-files', :'nginx-files', at_most: 0.75
end

Lab.gate :'file64k-nginx' do
  says 'a file of 64 KiB costs less than with nginx'
  on :file64k
  ratio :'hyperion-files', :'nginx-files', at_most: 0.9
end

%i[file1m file100m].each do |kase|
  Lab.gate :"#{kase}-nginx" do
    says "#{kase}: no dearer than nginx's sendfile"
    on kase
    ratio :'hyperion-files', :'nginx-files', at_most: 1.0
  end
end
